// noisysgd-data: fetches, verifies and shows data sets.
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/file.h>
#include <noisysgd/data/contact_sheet.h>
#include <noisysgd/data/download.h>
#include <noisysgd/data/normalize.h>
#include <noisysgd/data/registry.h>
#include <noisysgd/data/sources.h>
#include <noisysgd/kernels/check.h>

namespace {

using namespace noisysgd;
namespace fs = std::filesystem;

constexpr const char* default_root = "datasets";  // the default in a configuration, too

struct Arguments {
  std::string name;
  fs::path root = default_root;
  std::vector<std::string> mirrors;
  fs::path output;
  std::string split = "train";
  int columns = 10, rows = 10, scale = 3;
  Json dataset = Json::object();  // the given options of the data set, as in a configuration
};

ConfiguredDataset dataset_of(const Arguments& arguments) {
  Json options = arguments.dataset;
  options["type"] = arguments.name;
  if (arguments.root != default_root) options["root"] = arguments.root.string();
  Config config(options, "options of " + arguments.name);
  ConfiguredDataset dataset = ConfiguredDataset::read(config.root(), DatasetRegistry::builtin());
  config.finish();
  return dataset;
}

const Source& known_source(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& source : all_sources()) names.push_back(source.name);
  const Source* source = find_source(name);
  NSGD_CHECK(source != nullptr, "\"{}\" cannot be fetched; known data sets are {}", name,
             fmt::format("{}", fmt::join(names, ", ")));
  return *source;
}

void show_progress(const std::string& file, int64_t done, int64_t total) {
  const double megabytes = static_cast<double>(done) / 1e6;
  if (total > 0) {
    draw_line(stderr, fmt::format("{}: {:.1f} of {:.1f} MB, {} %", file, megabytes, static_cast<double>(total) / 1e6,
                                  100 * done / total));
  } else {
    draw_line(stderr, fmt::format("{}: {:.1f} MB", file, megabytes));
  }
}

void run_fetch(const Arguments& arguments) {
  const Source& source = known_source(arguments.name);
  const bool live = is_live_terminal(stderr);
  FetchOptions options;
  options.mirrors = arguments.mirrors;
  if (live) options.progress = show_progress;
  options.note = [live](const std::string& line) {
    if (live) clear_line(stderr);
    print_error("{}\n", line);
  };
  fetch(source, arguments.root, options);
  print_out("{} is in {}\n", source.title, (arguments.root / source.folder).string());
}

// Prints for every published file whether its size and hash are right; false if one is wrong or missing.
bool verify_files(const Source& source, const fs::path& root) {
  bool right = true;
  const auto report = [&](const fs::path& path, const std::optional<std::string>& difference, const char* what) {
    print_out("{}: {}\n", path.string(), difference ? "WRONG: " + *difference : what);
    right = right && !difference;
  };
  for (const auto& file : source.files) {
    if (file.archive) continue;  // removed after unpacking
    const fs::path in_folder = root / source.folder / file.name, in_root = root / file.name;
    const fs::path path = fs::is_regular_file(in_folder) || !fs::is_regular_file(in_root) ? in_folder : in_root;
    const fs::path plain = fs::path(path).replace_extension();
    const fs::path& found = fs::is_regular_file(path) || !fs::is_regular_file(plain) ? path : plain;
    report(found, find_difference(file, found), "size and SHA-256 as published");
  }
  for (const auto& file : source.unpacked) {
    std::error_code error;
    const auto size = fs::file_size(root / file.path, error);
    std::optional<std::string> difference;
    if (error) {
      difference = error.message();
    } else if (size != static_cast<uintmax_t>(file.size)) {
      difference = fmt::format("{} bytes, expected {}", size, file.size);
    }
    report(root / file.path, difference, "size as published (the hash is checked on the archive, when it is fetched)");
  }
  return right;
}

void describe(const Dataset& dataset) {
  const auto statistics = channel_statistics(dataset);
  std::vector<int64_t> per_class(static_cast<size_t>(dataset.classes));
  for (const int32_t label : dataset.labels) ++per_class[static_cast<size_t>(label)];
  const auto [fewest, most] = std::minmax_element(per_class.begin(), per_class.end());
  print_out("{}: {} images of {}×{}×{} (height × width × channels), {} classes of {} to {} images\n", dataset.name,
            dataset.count, dataset.height, dataset.width, dataset.channels, dataset.classes, *fewest, *most);
  print_out("  mean {:.5f}, standard deviation {:.5f}\n", fmt::join(statistics.mean, " "),
            fmt::join(statistics.standard_deviation, " "));
}

void run_verify(const Arguments& arguments) {
  const ConfiguredDataset dataset = dataset_of(arguments);
  const Source* source = find_source(arguments.name);
  const bool right = source == nullptr || verify_files(*source, arguments.root);
  const DatasetPair pair = dataset.load();
  describe(pair.train);
  describe(pair.test);
  const auto& names = pair.train.class_names;
  print_out("  classes: {}{}\n",
            fmt::join(names.begin(), names.begin() + std::min<int64_t>(20, pair.train.classes), ", "),
            names.size() > 20 ? ", …" : "");
  NSGD_CHECK(right, "{}: files differ from the published ones (listed above)", arguments.name);
}

void run_preview(Arguments arguments) {
  check_replaceable(arguments.output, "\x89PNG", "a PNG picture");
  if (arguments.name == "synthetic")  // draws only the images that are shown
    arguments.dataset["train_size"] = arguments.dataset["test_size"] = int64_t{arguments.columns} * arguments.rows;
  const DatasetPair pair = dataset_of(arguments).load();
  write_contact_sheet(arguments.split == "train" ? pair.train : pair.test, arguments.columns, arguments.rows,
                      arguments.scale, arguments.output);
  print_out("{}\n", arguments.output.string());
}

void add_dataset_options(CLI::App& command, Arguments& arguments, const std::vector<std::string>& names) {
  command.add_option("NAME", arguments.name, "Data set")->required()->check(CLI::IsMember(names));
  add_path(command, "--root", arguments.root, "Folder that holds the data sets")->capture_default_str();
}

// Adds an option that a configuration has under `data`.
template <class T>
CLI::Option* add_data_option(CLI::App& command, Arguments& arguments, const std::string& key, const std::string& text) {
  return command.add_option_function<T>(
      "--" + key, [&arguments, key](const T& value) { arguments.dataset[key] = value; }, text);
}

void add_reading_options(CLI::App& command, Arguments& arguments) {
  add_data_option<int64_t>(command, arguments, "height", "image_folder: resize to this height")
      ->transform(whole_number(0, 4096));
  add_data_option<int64_t>(command, arguments, "width", "image_folder: resize to this width")
      ->transform(whole_number(0, 4096));
  add_data_option<int64_t>(command, arguments, "channels", "image_folder: 1 grey, 3 colour")
      ->transform(whole_number(0, 3));
  command.add_flag_callback(
      "--colour", [&arguments] { arguments.dataset["colour"] = true; },
      "synthetic: 32×32 colour instead of 28×28 grey");
  add_data_option<double>(command, arguments, "difficulty", "synthetic: 0 (clean) to 1 (scrawl)")
      ->default_str("0.5")
      ->check(CLI::Range(0.0, 1.0));
  add_data_option<int64_t>(command, arguments, "seed", "synthetic: another seed draws other images")
      ->default_str("1")
      ->transform(whole_number(0, largest_seed));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Fetches, verifies and shows the data sets of NoisySGD", "noisysgd-data"};
  app.require_subcommand(1);
  Arguments arguments;
  std::vector<std::string> fetchable;
  for (const auto& source : all_sources()) fetchable.push_back(source.name);

  CLI::App& fetch_command = *app.add_subcommand("fetch", "Download a data set, resuming and checking SHA-256");
  add_dataset_options(fetch_command, arguments, fetchable);
  add_repeated(fetch_command, "--mirror", arguments.mirrors, "Folder address to try before the published mirrors");

  CLI::App& verify_command = *app.add_subcommand("verify", "Check every file, load the data set, print what it holds");
  add_dataset_options(verify_command, arguments, DatasetRegistry::builtin().types());
  add_reading_options(verify_command, arguments);

  CLI::App& preview_command = *app.add_subcommand("preview", "Write the first images as one PNG picture");
  add_dataset_options(preview_command, arguments, DatasetRegistry::builtin().types());
  add_reading_options(preview_command, arguments);
  add_path(preview_command, "--output", arguments.output, "PNG file to write")->required();
  preview_command.add_option("--split", arguments.split, "train or test")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "test"}));
  preview_command.add_option("--columns", arguments.columns, "Images per row")
      ->capture_default_str()
      ->transform(whole_number(1, 100));
  preview_command.add_option("--rows", arguments.rows, "Rows")->capture_default_str()->transform(whole_number(1, 100));
  preview_command.add_option("--scale", arguments.scale, "Enlargement")
      ->capture_default_str()
      ->transform(whole_number(1, 16));

  return run_program(app, argc, argv, [&] {
    if (fetch_command.parsed()) run_fetch(arguments);
    if (verify_command.parsed()) run_verify(arguments);
    if (preview_command.parsed()) run_preview(arguments);
    return 0;
  });
}
