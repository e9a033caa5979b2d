// SPDX-License-Identifier: MIT
// The verbs of the program, one file each. Each returns the exit code, or throws as in error.h.
#ifndef THIMBLE_TOOLS_VERBS_H
#define THIMBLE_TOOLS_VERBS_H

#include <string>
#include <vector>

namespace thimble::tools {

using Words = std::vector<std::string>;

int run_verb(const Words& words);
int chat_verb(const Words& words);
int constrain_verb(const Words& words);
int convert_verb(const Words& words);
int embed_verb(const Words& words);
int export_verb(const Words& words);
int inspect_verb(const Words& words);
int intents_verb(const Words& words);
int merge_verb(const Words& words);
int pack_verb(const Words& words);
int plan_verb(const Words& words);
int eval_verb(const Words& words);
int bench_verb(const Words& words);
int tokens_verb(const Words& words);
int logits_verb(const Words& words);
int trace_verb(const Words& words);
int train_verb(const Words& words);
int unpack_verb(const Words& words);

extern const char kRunHelp[];
extern const char kChatHelp[];
extern const char kConstrainHelp[];
extern const char kConvertHelp[];
extern const char kEmbedHelp[];
extern const char kExportHelp[];
extern const char kInspectHelp[];
extern const char kIntentsHelp[];
extern const char kMergeHelp[];
extern const char kPackHelp[];
extern const char kPlanHelp[];
extern const char kEvalHelp[];
extern const char kBenchHelp[];
extern const char kTokensHelp[];
extern const char kLogitsHelp[];
extern const char kTraceHelp[];
extern const char kTrainHelp[];
extern const char kUnpackHelp[];

}  // namespace thimble::tools

#endif
