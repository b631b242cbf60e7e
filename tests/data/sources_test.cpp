#include <noisysgd/data/sources.h>

#include <algorithm>
#include <set>

#include <noisysgd/data/registry.h>
#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("every source is complete and can be loaded by its name") {
  const auto types = DatasetRegistry::builtin().types();
  std::set<std::string> hashes;
  for (const auto& source : all_sources()) {
    INFO(source.name);
    CHECK(std::find(types.begin(), types.end(), source.name) != types.end());
    CHECK(find_source(source.name) == &source);
    CHECK(!source.title.empty());
    CHECK(!source.folder.empty());
    REQUIRE(!source.files.empty());
    REQUIRE(!source.mirrors.empty());
    for (const auto& mirror : source.mirrors) {
      CHECK(mirror.starts_with("http"));
      CHECK(mirror.ends_with("/"));
    }
    for (const auto& file : source.files) {
      CHECK(file.size > 0);
      CHECK(file.sha256.size() == 64);
      CHECK(file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos);
      CHECK(hashes.insert(file.sha256).second);
      CHECK(file.archive == file.name.ends_with(".tar.gz"));
      CHECK(file.archive == !source.unpacked.empty());
    }
  }
  CHECK(all_sources().size() == 4);
  CHECK(find_source("imagenet") == nullptr);
}
