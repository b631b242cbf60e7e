// A code block under <!-- path --> must occur word for word in that file.
#include <fmt/format.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <noisysgd/core/file.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

struct Block {
  std::string language, file, text;  // file: of the comment right above, or empty
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::vector<Block> blocks_of(const std::string& page) {
  const std::vector<std::string> lines = lines_of(page);
  std::vector<Block> blocks;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].starts_with("```")) continue;
    Block block{lines[i].substr(3), "", ""};
    const std::string above = i > 0 ? lines[i - 1] : "";
    if (above.starts_with("<!-- ") && above.ends_with(" -->")) block.file = above.substr(5, above.size() - 9);
    for (++i; i < lines.size() && !lines[i].starts_with("```"); ++i) block.text += lines[i] + "\n";
    blocks.push_back(block);
  }
  return blocks;
}

const std::filesystem::path source = NSGD_SOURCE_DIR;

}  // namespace

TEST_CASE("docs/extending.md says how many lines every file of the example has") {
  const std::string page = read_file(source / "docs/extending.md");
  for (const auto& entry : std::filesystem::directory_iterator(source / "docs/examples/extending")) {
    const std::string row =
        fmt::format("| `{}` | {} |", entry.path().filename().string(), lines_of(read_file(entry.path())).size());
    INFO(row);
    CHECK(page.find(row) != std::string::npos);
  }
}

TEST_CASE("every code block of the pages on extending and on kernels is a part of the file it names") {
  std::set<std::string> shown;
  for (const std::string page : {"docs/extending.md", "docs/cuda.md"})
    for (const Block& block : blocks_of(read_file(source / page))) {
      if (block.language == "sh" || block.language == "text") continue;  // commands and what they print
      INFO(page << ", block of " << block.language << ":\n" << block.text);
      REQUIRE_FALSE(block.file.empty());
      CHECK(read_file(source / block.file).find(block.text) != std::string::npos);
      shown.insert(block.file);
    }
  for (const auto& entry : std::filesystem::directory_iterator(source / "docs/examples/extending")) {
    INFO(entry.path().string());
    CHECK(shown.count("docs/examples/extending/" + entry.path().filename().string()) == 1);
  }
}
