#include <noisysgd/kernels/cuda/plan_cache.h>

#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <fstream>

namespace noisysgd::kernels::cuda {

namespace {

std::filesystem::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value ? value : "");
  };
  if (const auto folder = variable("NSGD_CACHE"); !folder.empty()) return folder;
  if (const auto folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder / "noisysgd";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "noisysgd";
  return {};
}

std::string file_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return text;
}

}  // namespace

PlanCache::PlanCache(const std::string& library, const std::string& device) : folder_(cache_folder()) {
  if (!folder_.empty()) folder_ = folder_ / file_name(library) / file_name(device);
}

std::optional<std::string> PlanCache::read(const std::string& problem) const {
  if (folder_.empty()) return {};
  std::ifstream file(folder_ / file_name(problem));
  std::string choice, more;
  if (!(file >> choice) || file >> more) return {};
  return choice;
}

void PlanCache::write(const std::string& problem, const std::string& choice) const {
  if (folder_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::filesystem::path path = folder_ / file_name(problem);
  std::string temporary = path.string() + ".XXXXXX";
  const int made = ::mkstemp(temporary.data());  // a file of this writer alone; never follows a link
  if (made < 0) return;
  ::close(made);
  std::ofstream file(temporary);
  file << choice << '\n';
  file.close();
  if (file) std::filesystem::rename(temporary, path, error);  // atomic: nobody ever sees a partial file
  if (!file || error) std::filesystem::remove(temporary, error);
}

}  // namespace noisysgd::kernels::cuda
