// From the name of a data set and a folder to its training and test images.
// Types: mnist, fashion_mnist, cifar10, cifar100, image_folder, idx (any four IDX files), synthetic.
// Missing files give one Error that lists what was looked for, where, and the command that fetches it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/data/dataset.h>
#include <noisysgd/data/synthetic.h>

namespace noisysgd {

struct DatasetOptions {
  std::string type = "synthetic";
  std::filesystem::path root;  // the files, or the folder that holds the data set's own folder; "~/…": below the home
  int64_t train_limit = 0;     // keep the first images only (image folders: spread over the classes); 0 keeps all
  int64_t test_limit = 0;
  // The last so many training images (image folders: spread over the classes) are taken out and become the test images,
  // before the limits: settings can then be chosen without a look at the real ones, and without their files.
  int64_t holdout = 0;
  int64_t height = 0, width = 0;  // image_folder: resize to this; 0 expects images of one size
  int64_t channels = 0;           // image_folder: 1 grey, 3 colour, 0 as the images are
  SyntheticOptions synthetic;
};

std::vector<std::string> dataset_types();

DatasetPair load_dataset(const DatasetOptions& options);

}  // namespace noisysgd
