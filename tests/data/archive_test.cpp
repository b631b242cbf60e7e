#include <noisysgd/data/archive.h>

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
  const auto written = unpack_tar_gz(folder / "a.tar.gz", folder / "out", 1 << 20);
  CHECK(written.size() == 4);
  CHECK(get(folder / "out/set/small") == small);
  CHECK(get(folder / "out/set/block") == block);
  CHECK(get(folder / "out/set/empty").empty());
  CHECK(get(folder / "out/set/deep/er/large") == large);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "out")) CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("only POSIX headers have a second part of the name") {
  // Headers of GNU tar have "ustar  " and keep times where POSIX has the first part of a long name.
  Bytes gnu = tar_member({"one", noise_bytes(3), '0', "14612345670"});
  gnu[262] = gnu[263] = ' ';
  gnu[264] = 0;
  write_checksum(gnu);
  gnu.resize(gnu.size() + 1024);
  std::vector<std::string> names;
  visit_tar(gnu, "archive", [&](const TarEntry& entry) { names.push_back(entry.name); });
  CHECK(names == std::vector<std::string>{"one"});
}

TEST_CASE("members may not leave the destination") {
  const TemporaryFolder folder;
  for (const std::string name : {"../evil", "/tmp/evil", "set/../../evil", ".."}) {
    put_gzip(folder / "a.tar.gz", tar_archive({{name, noise_bytes(3), '0', ""}}));
    check_mentions(error_of([&] { unpack_tar_gz(folder / "a.tar.gz", folder / "out", 1 << 20); }),
                   {"a.tar.gz", name, "outside"});
    CHECK(!fs::exists(folder / "evil"));
  }
}

TEST_CASE("bad archives are refused") {
  const TemporaryFolder folder;
  const auto message = [&](const Bytes& bytes) {
    put_gzip(folder / "bad.tar.gz", bytes);
    return error_of([&] { unpack_tar_gz(folder / "bad.tar.gz", folder / "out", 1 << 20); });
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
  check_mentions(error_of([&] { unpack_tar_gz(folder / "cut.tar.gz", folder / "out", 1 << 20); }),
                 {"cut.tar.gz", "truncated"});
}

TEST_CASE("members are not written through symbolic links") {
  const TemporaryFolder folder;
  put(folder / "elsewhere/victim", std::string("precious"));
  put_gzip(folder / "a.tar.gz", tar_archive({{"set/victim", noise_bytes(9), '0', ""}}));
  const auto message = [&] { return error_of([&] { unpack_tar_gz(folder / "a.tar.gz", folder / "out", 1 << 20); }); };
  fs::create_directories(folder / "out");
  fs::create_directory_symlink(folder / "elsewhere", folder / "out/set");
  check_mentions(message(), {"a.tar.gz", "\"set/victim\"", "symbolic link " + (folder / "out/set").string()});
  fs::remove(folder / "out/set");
  fs::create_directory(folder / "out/set");
  fs::create_symlink(folder / "elsewhere/victim", folder / "out/set/victim");
  check_mentions(message(), {"symbolic link " + (folder / "out/set/victim").string()});
  put_gzip(folder / "a.tar.gz", tar_archive({{"set/victim/", {}, '5', ""}}));
  check_mentions(message(), {"symbolic link"});
  CHECK(get(folder / "elsewhere/victim") == Bytes{'p', 'r', 'e', 'c', 'i', 'o', 'u', 's'});
}

TEST_CASE("archives that unpack to more than expected are refused before anything is written") {
  const TemporaryFolder folder;
  const Bytes archive = tar_archive({{"zeros", Bytes(100000), '0', ""}});
  put_gzip(folder / "a.tar.gz", archive);
  check_mentions(error_of([&] { unpack_tar_gz(folder / "a.tar.gz", folder / "out", archive.size() - 1); }),
                 {"a.tar.gz", "more than the", std::to_string(archive.size() - 1)});
  CHECK(!fs::exists(folder / "out"));
  CHECK(unpack_tar_gz(folder / "a.tar.gz", folder / "out", archive.size()).size() == 1);
}

TEST_CASE("sizes in headers beyond the end of the archive are refused") {
  for (const std::string size : {"77777777777", "777777777777", "00000002000", "9", "-1"}) {
    Bytes bytes = tar_member({"one", noise_bytes(10), '0', ""});
    std::fill(bytes.begin() + 124, bytes.begin() + 136, uint8_t{0});
    std::copy(size.begin(), size.end(), bytes.begin() + 124);
    write_checksum(bytes);
    INFO(size);
    const std::string message = error_of([&] { visit_tar(bytes, "archive", [](const TarEntry&) {}); });
    CHECK(message.starts_with(size[0] == '9' || size[0] == '-'
                                  ? "archive: member \"one\" has a size that is no octal number"
                                  : "archive: member \"one\" is truncated: "));
  }
}
