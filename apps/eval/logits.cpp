#include <noisysgd/apps/eval/logits.h>

#include <fmt/format.h>

#include <bit>
#include <span>
#include <string>
#include <string_view>

#include <noisysgd/core/file.h>

namespace noisysgd {

namespace {

constexpr std::string_view npy_magic("\x93NUMPY\x01\x00", 8), csv_begin = "index,label,logit_0";
static_assert(std::endian::native == std::endian::little, "the header says \"<f4\"");

bool is_npy(const std::filesystem::path& path) { return path.extension() == ".npy"; }

// Version 1.0: the magic, the length of the description in two bytes, the description padded to a multiple of 64.
std::string npy_header(int64_t images, int64_t classes) {
  std::string description =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", images, classes);
  constexpr size_t alignment = 64;
  while ((npy_magic.size() + 2 + description.size() + 1) % alignment != 0) description += ' ';
  description += '\n';
  std::string header(npy_magic);
  header += static_cast<char>(description.size() % 256);
  header += static_cast<char>(description.size() / 256);
  return header + description;
}

std::string csv_of(const Evaluation& evaluation) {
  const auto classes = static_cast<size_t>(evaluation.scores.classes());
  std::string text = "index,label";
  for (size_t k = 0; k < classes; ++k) text += fmt::format(",logit_{}", k);
  text += '\n';
  size_t index = 0;
  for (const Prediction& made : evaluation.scores.predictions()) {
    text += fmt::format("{},{}", index, made.label);
    for (const float logit : std::span(evaluation.logits).subspan(index * classes, classes))
      text += fmt::format(",{}", logit);
    text += '\n';
    ++index;
  }
  return text;
}

}  // namespace

void check_logits_file(const std::filesystem::path& path) {
  NSGD_CHECK(is_npy(path) || path.extension() == ".csv", "--logits {}: expected a name that ends with .npy or .csv",
             path.string());
  check_replaceable(path, is_npy(path) ? npy_magic.substr(0, 6) : csv_begin,
                    is_npy(path) ? "a NumPy array" : "a file of logits");
}

void write_logits(const std::filesystem::path& path, const Evaluation& evaluation) {
  if (!is_npy(path)) return write_file_atomically(path, csv_of(evaluation));
  AtomicFile file(path);
  file.write(npy_header(evaluation.scores.images(), evaluation.scores.classes()));
  file.write(std::as_bytes(std::span(evaluation.logits)));
  file.commit();
}

}  // namespace noisysgd
