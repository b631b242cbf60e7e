#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include <noisysgd/kernels/cuda/cudnn_api.h>

namespace noisysgd::kernels::cudnn {

namespace {

// Returns false and names the symbol in why_not if the library lacks it.
template <class Function>
bool resolve(void* library, const char* symbol, Function& function, std::string& why_not) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (!function) why_not = fmt::format("has no {}", symbol);
  return function != nullptr;
}

bool resolve_all(void* library, Api& api, std::string& why_not) {
  return resolve(library, "cudnnGetVersion", api.version, why_not) &&
         resolve(library, "cudnnGetErrorString", api.status_name, why_not) &&
         resolve(library, "cudnnGetLastErrorString", api.last_error, why_not) &&
         resolve(library, "cudnnCreate", api.create, why_not) &&
         resolve(library, "cudnnDestroy", api.destroy, why_not) &&
         resolve(library, "cudnnSetStream", api.set_stream, why_not) &&
         resolve(library, "cudnnBackendCreateDescriptor", api.create_descriptor, why_not) &&
         resolve(library, "cudnnBackendDestroyDescriptor", api.destroy_descriptor, why_not) &&
         resolve(library, "cudnnBackendFinalize", api.finalize, why_not) &&
         resolve(library, "cudnnBackendSetAttribute", api.set_attribute, why_not) &&
         resolve(library, "cudnnBackendGetAttribute", api.get_attribute, why_not) &&
         resolve(library, "cudnnBackendExecute", api.execute, why_not);
}

}  // namespace

const Api* open_library(const std::string& file, std::string& why_not) {
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why_not = dlerror();  // begins with the file's name
    return nullptr;
  }
  auto api = std::make_unique<Api>();
  std::string problem;
  if (resolve_all(library, *api, problem) && api->version() / 10000 == 9)
    return api.release();  // never freed: the library stays loaded too
  why_not = fmt::format("{}: {}", file,
                        problem.empty() ? fmt::format("is version {}, expected 9.x", api->version()) : problem);
  return nullptr;
}

const Api* find_library(std::string& why_not) {
  const char* const variable = std::getenv("NSGD_CUDNN");
  const std::string wanted = variable ? variable : "";
  if (wanted.empty()) return default_library(why_not);
  if (wanted == "off") {
    why_not = "NSGD_CUDNN=off";
    return nullptr;
  }
  const Api* const api = wanted == "on" ? wanted_library(why_not) : open_library(wanted, why_not);
  NSGD_CHECK(api, "NSGD_CUDNN={}: {}", wanted, why_not);
  return api;
}

}  // namespace noisysgd::kernels::cudnn
