#include "data/archive.h"

#include "tests/data/tar.h"

using namespace noisysgd;
using namespace noisysgd::testing;
namespace fs = std::filesystem;

TEST_CASE("archives are unpacked with their folders, byte for byte") {
  const TemporaryFolder folder;
  const Bytes small = noise_bytes(3), block = noise_bytes(512), large = noise_bytes(70001);
  put_gzip(folder / "a.tar.gz", tar_archive({{"pax", noise_bytes(20), 'x', ""},
                                             {"set/", {}, '5', ""},
                                             {"set/small", small, '0', ""},
                                             {"set/block", block, '\0', ""},
                                             {"./set/empty", {}, '0', ""},
                                             {"large", large, '0', "set/deep/er"}}));
  const auto written = unpack_tar_gz(folder / "a.tar.gz", folder / "out");
  CHECK(written.size() == 4);
  CHECK(get(folder / "out/set/small") == small);
  CHECK(get(folder / "out/set/block") == block);
  CHECK(get(folder / "out/set/empty").empty());
  CHECK(get(folder / "out/set/deep/er/large") == large);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("members may not leave the destination") {
  const TemporaryFolder folder;
  for (const std::string name : {"../evil", "/tmp/evil", "set/../../evil", ".."}) {
    put_gzip(folder / "a.tar.gz", tar_archive({{name, noise_bytes(3), '0', ""}}));
    check_mentions(error_of([&] { unpack_tar_gz(folder / "a.tar.gz", folder / "out"); }),
                   {"a.tar.gz", name, "outside"});
    CHECK(!fs::exists(folder / "evil"));
  }
}

TEST_CASE("bad archives are refused") {
  const TemporaryFolder folder;
  const auto message = [&](const Bytes& bytes) {
    put_gzip(folder / "bad.tar.gz", bytes);
    return error_of([&] { unpack_tar_gz(folder / "bad.tar.gz", folder / "out"); });
  };
  const Bytes good = tar_archive({{"one", noise_bytes(600), '0', ""}});
  check_mentions(message(Bytes(good.begin(), good.end() - 1024)), {"bad.tar.gz", "without its end mark"});
  check_mentions(message(Bytes(good.begin(), good.begin() + 1000)), {"bad.tar.gz", "\"one\"", "truncated"});
  Bytes wrong = good;
  wrong[3] ^= 1;
  check_mentions(message(wrong), {"bad.tar.gz", "byte 0", "checksum"});
  check_mentions(message(tar_archive({{"link", {}, '2', ""}})), {"\"link\"", "type '2'"});
  check_mentions(message(noise_bytes(2000)), {"bad.tar.gz", "checksum"});
  put_gzip(folder / "whole.tar.gz", good);
  Bytes cut = get(folder / "whole.tar.gz");
  cut.resize(cut.size() - 30);
  put(folder / "cut.tar.gz", cut);
  check_mentions(error_of([&] { unpack_tar_gz(folder / "cut.tar.gz", folder / "out"); }), {"cut.tar.gz", "truncated"});
}
