// SPDX-License-Identifier: MIT
// What eval --answers prints.
#ifndef THIMBLE_TOOLS_ANSWERS_REPORT_H
#define THIMBLE_TOOLS_ANSWERS_REPORT_H

#include <string>
#include <vector>

#include "answers.h"

namespace thimble::tools {

struct AnswersReport {
  const std::vector<Answer>& answers;
  AnswerScore score;
  double seconds;
  bool has_rule;
  double threshold;  // that the command line gives; below 0: none
  bool shows_wrong;
};

std::string answers_text(const AnswersReport& report);
std::string answers_json(const AnswersReport& report);

}  // namespace thimble::tools

#endif
