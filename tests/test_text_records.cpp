// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "error.h"
#include "random.h"
#include "test_folder.h"
#include "train/text_records.h"

using namespace thimble;
using test::refusal_when;
using test::TestFolder;
using tools::train::records_by;
using tools::train::RecordsBy;
using tools::train::TextRecord;
using tools::train::TextRecords;
using tools::train::TextRecordsOptions;
using Texts = std::vector<std::string>;

namespace {

Texts texts_of(const std::vector<TextRecord>& records) {
  Texts texts;
  for (const TextRecord& record : records) texts.emplace_back(record.text);
  return texts;
}

TextRecordsOptions options_of(RecordsBy by, double held_out = 0) {
  TextRecordsOptions options;
  options.by = by;
  options.held_out = held_out;
  return options;
}

// Lines that all differ.
std::string lines(const std::string& name, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) text += name + " " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("text_records: marks, files and lines") {
  const TestFolder folder;
  const Texts paths = {folder.write("a", "one\nmore\n<|endoftext|>\n  two <|endoftext|> \n"),
                       folder.write("b", "\n\nthree\r\n \n\tfour")};
  const TextRecords marks(paths, options_of(RecordsBy::kMarks));
  CHECK(texts_of(marks.training()) == Texts{"one\nmore\n", "two ", "three\r\n \n\tfour"});
  CHECK(marks.held_out().empty());
  CHECK(marks.training_bytes() == 27);
  const TextRecords files(paths, options_of(RecordsBy::kFiles));
  CHECK(texts_of(files.training()) ==
        Texts{"one\nmore\n<|endoftext|>\n  two <|endoftext|> \n", "\n\nthree\r\n \n\tfour"});
  const TextRecords by_lines(paths, options_of(RecordsBy::kLines));
  CHECK(texts_of(by_lines.training()) ==
        Texts{"one", "more", "<|endoftext|>", "  two <|endoftext|> ", "three", "\tfour"});
  CHECK(by_lines.oddities().size() == 1);  // carriage returns
}

TEST_CASE("text_records: what comes again counts once") {
  const TestFolder folder;
  const Texts paths = {folder.write("a", "x\nyy\nx\n"), folder.write("b", "yy\r\nz\nyy\n")};
  const TextRecords records(paths, options_of(RecordsBy::kLines));
  CHECK(texts_of(records.training()) == Texts{"x", "yy", "z"});
  CHECK(records.duplicates() == 3);
  CHECK(records.duplicate_bytes() == 5);
  CHECK(records.summary() ==
        "3 records to train on (4 bytes), 0 held out (0 bytes); 3 came again and count once (5 "
        "bytes)");
}

TEST_CASE("text_records: held out by text and seed, whatever else is there") {
  const TestFolder folder;
  const std::string a = folder.write("a", lines("a", 4000)),
                    b = folder.write("b", lines("b", 4000));
  TextRecordsOptions options = options_of(RecordsBy::kLines, 0.05);
  const TextRecords alone({a}, options), both({b, a}, options);
  const Texts held_alone = texts_of(alone.held_out()), held_both = texts_of(both.held_out());
  // 200 and 400 expected: five standard deviations.
  CHECK(held_alone.size() > 130);
  CHECK(held_alone.size() < 270);
  CHECK(held_both.size() > 300);
  CHECK(held_both.size() < 500);
  CHECK(alone.training().size() + held_alone.size() == 4000);
  CHECK(Texts(held_both.end() - static_cast<std::ptrdiff_t>(held_alone.size()), held_both.end()) ==
        held_alone);
  options.seed = 1;
  const TextRecords other({a}, options);
  CHECK(texts_of(other.held_out()) != held_alone);
  CHECK(texts_of(TextRecords({a}, options).held_out()) == texts_of(other.held_out()));
}

TEST_CASE("text_records: no side stays empty where there are two records") {
  const TestFolder folder;
  for (const double share : {1e-9, 1 - 1e-9}) {
    const std::string path = folder.write("a", lines("a", 5));
    const TextRecords five({path}, options_of(RecordsBy::kLines, share));
    CHECK(five.training().size() == (share < 0.5 ? 4 : 1));
    CHECK(five.held_out().size() == (share < 0.5 ? 1 : 4));
    CHECK(five.training_bytes() == 3 * five.training().size());
    CHECK(five.held_out_bytes() == 3 * five.held_out().size());
    const TextRecords one({path}, options_of(RecordsBy::kFiles, share));
    CHECK(one.training().size() == 1);
    CHECK(one.held_out().empty());
  }
}

TEST_CASE("text_records: long records are cut where it hurts least") {
  const TestFolder folder;
  TextRecordsOptions options = options_of(RecordsBy::kMarks);
  options.max_record_bytes = 16;
  const auto pieces_of = [&](const std::string& text) {
    const TextRecords records({folder.write("a", text)}, options);
    CHECK(records.pieces() + 1 == records.training().size());
    CHECK(std::count_if(records.training().begin(), records.training().end(),
                        [](const TextRecord& record) { return !record.continues; }) == 1);
    CHECK(std::count_if(records.training().begin(), records.training().end(),
                        [](const TextRecord& record) { return !record.goes_on; }) == 1);
    CHECK(!records.training().back().goes_on);
    return texts_of(records.training());
  };
  CHECK(pieces_of("0123456789abcdef") == Texts{"0123456789abcdef"});
  CHECK(pieces_of("01234567\n\nab\n ef01") == Texts{"01234567\n\n", "ab\n ef01"});
  CHECK(pieces_of("0\n\n34567 9\nbcdef01") == Texts{"0\n\n34567 9\n", "bcdef01"});
  CHECK(pieces_of("0\n\n34567 9abcdef01") == Texts{"0\n\n34567", " 9abcdef01"});
  CHECK(pieces_of("0123456789abcdef01") == Texts{"0123456789abcdef", "01"});
  CHECK(pieces_of("0123456789abcde\xc3\xa9 1") == Texts{"0123456789abcde", "\xc3\xa9 1"});
  CHECK(pieces_of(std::string(40, '\x80')) == Texts{std::string(9, '\x80'), std::string(9, '\x80'),
                                                    std::string(9, '\x80'),
                                                    std::string(13, '\x80')});
  Random random(2);
  for (size_t most = 1; most < 20; ++most) {
    std::string text = "x", joined;
    while (text.size() < 300) text += " \n\xc3\xa9yz"[random.below(6)];
    options.max_record_bytes = most;
    for (const std::string& piece : pieces_of(text)) {
      CHECK(!piece.empty());
      CHECK(piece.size() <= most);
      joined += piece;
    }
    CHECK(joined == text);
  }
}

TEST_CASE("text_records: few records of many begin in mid-story") {
  const TestFolder folder;
  const auto continuing = [&](int n_upper, int n_lower, RecordsBy by) {
    std::string text;
    for (int i = 0; i < n_upper; ++i) text += "A " + std::to_string(i) + "\n<|endoftext|>\n";
    for (int i = 0; i < n_lower; ++i) text += "and " + std::to_string(i) + "\n<|endoftext|>\n";
    const TextRecords records({folder.write("a", text)}, options_of(by, 0.3));
    size_t n = 0;
    for (const auto* side : {&records.training(), &records.held_out()}) {
      for (const TextRecord& record : *side) {
        CHECK((!record.continues || record.text[0] == 'a'));
        CHECK(!record.goes_on);
        n += record.continues;
      }
    }
    CHECK(records.mid_stories() == n);
    CHECK((records.summary().find("begin in mid-story") != std::string::npos) == (n > 0));
    return n;
  };
  CHECK(continuing(90, 10, RecordsBy::kMarks) == 10);
  CHECK(continuing(90, 11, RecordsBy::kMarks) == 0);  // so texts begin here
  CHECK(continuing(50, 0, RecordsBy::kMarks) == 0);
  CHECK(continuing(0, 50, RecordsBy::kMarks) == 0);
  CHECK(continuing(90, 10, RecordsBy::kLines) == 0);
}

TEST_CASE("text_records: what is refused") {
  const TestFolder folder;
  const auto refusal = [](const Texts& paths, RecordsBy by = RecordsBy::kMarks) {
    return refusal_when([&] { TextRecords(paths, options_of(by)); });
  };
  const std::string text = folder.write("text", "text"), empty = folder.write("empty", ""),
                    blank = folder.write("blank", " \n<|endoftext|>\n"),
                    spaces = folder.write("spaces", " \n\t"),
                    wide = folder.write("wide", std::string("\xff\xfet\0e\0x\0t\0", 10));
  CHECK(refusal({text, empty}) == empty + ": is empty (0 bytes), expected a text");
  const std::string model = "models/story.thimble";
  CHECK(refusal({text, model}) ==
        model +
            ": is a flat file of Thimble, expected a text; --from MODEL goes "
            "on with a model");
  const std::string marks = ": found only white space and <|endoftext|> marks, expected a text";
  CHECK(refusal({blank}) == blank + marks);
  CHECK(refusal({blank, blank}) == blank + " and 1 more" + marks);
  const std::string white = ": found only white space, expected a text";
  CHECK(refusal({spaces}, RecordsBy::kLines) == spaces + white);
  CHECK(refusal({spaces}, RecordsBy::kFiles) == spaces + white);
  CHECK(refusal({text, blank}) == "accepted");
  CHECK(refusal({folder / "none"}) == folder / "none" + ": No such file or directory");
  CHECK(refusal({wide}).find("looks like UTF-16") != std::string::npos);
  CHECK(records_by("lines", "--records") == RecordsBy::kLines);
  CHECK_THROWS_WITH_AS(records_by("line", "--records"),
                       "option '--records' is 'line', expected marks, lines, files or answers",
                       tools::WrongUsage);
}

TEST_CASE("text_records: a prompt, a tab and an answer a line") {
  const TestFolder folder;
  const Texts paths = {folder.write("a", "lights on\tyes\n\nsing\tno\tnever\r\n")};
  const TextRecords records(paths, options_of(RecordsBy::kAnswers));
  REQUIRE(records.training().size() == 2);
  CHECK(records.training()[0].text == "lights on\tyes");
  CHECK(records.training()[0].prompt_bytes == 10);
  CHECK(records.training()[1].text == "sing\tno\tnever");
  CHECK(records.training()[1].prompt_bytes == 5);
  CHECK(records_by("answers", "--records") == RecordsBy::kAnswers);
  for (const char* wrong : {"a\tb\nno answer\n", "a\tb\n\tno prompt\n", "a\tb\nno answer\t\n"}) {
    const std::string path = folder.write("wrong", wrong);
    const std::string refusal =
        refusal_when([&] { TextRecords({path}, options_of(RecordsBy::kAnswers)); });
    CHECK(refusal.find("wrong: line 2 is '") != std::string::npos);
    CHECK(refusal.find("expected a prompt, a tab and an answer") != std::string::npos);
  }
}
