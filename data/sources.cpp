#include <noisysgd/data/sources.h>

namespace noisysgd {
namespace {

constexpr int64_t kIdxTrainImages = 16 + 60000 * 784, kIdxTrainLabels = 8 + 60000;
constexpr int64_t kIdxTestImages = 16 + 10000 * 784, kIdxTestLabels = 8 + 10000;

Source mnist() {
  return {"mnist",
          "MNIST handwritten digits (LeCun, Cortes, Burges)",
          "mnist",
          {"https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/",
           "http://yann.lecun.com/exdb/mnist/"},
          {{"train-images-idx3-ubyte.gz", false, kIdxTrainImages,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
           {"train-labels-idx1-ubyte.gz", false, kIdxTrainLabels,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
           {"t10k-images-idx3-ubyte.gz", false, kIdxTestImages,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
           {"t10k-labels-idx1-ubyte.gz", false, kIdxTestLabels,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}},
          {}};
}

Source fashion_mnist() {
  return {"fashion_mnist",
          "Fashion-MNIST articles of clothing (Xiao, Rasul, Vollgraf; MIT licence)",
          "fashion-mnist",
          {"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
           "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"},
          {{"train-images-idx3-ubyte.gz", false, kIdxTrainImages,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
           {"train-labels-idx1-ubyte.gz", false, kIdxTrainLabels,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
           {"t10k-images-idx3-ubyte.gz", false, kIdxTestImages,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
           {"t10k-labels-idx1-ubyte.gz", false, kIdxTestLabels,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}},
          {}};
}

constexpr int64_t kCifar10Batch = 10000 * (1 + 3072);

Source cifar10() {
  Source source{
      "cifar10",
      "CIFAR-10 natural images (Krizhevsky)",
      "cifar-10-batches-bin",
      {"https://www.cs.toronto.edu/~kriz/"},
      {{"cifar-10-binary.tar.gz", true, 170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}},
      {}};
  for (int batch = 1; batch <= 5; ++batch)
    source.unpacked.push_back({"cifar-10-batches-bin/data_batch_" + std::to_string(batch) + ".bin", kCifar10Batch});
  source.unpacked.push_back({"cifar-10-batches-bin/test_batch.bin", kCifar10Batch});
  return source;
}

Source cifar100() {
  return {"cifar100",
          "CIFAR-100 natural images (Krizhevsky)",
          "cifar-100-binary",
          {"https://www.cs.toronto.edu/~kriz/"},
          {{"cifar-100-binary.tar.gz", true, 168513733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"}},
          {{"cifar-100-binary/train.bin", 50000 * (2 + 3072)}, {"cifar-100-binary/test.bin", 10000 * (2 + 3072)}}};
}

}  // namespace

const std::vector<Source>& all_sources() {
  static const std::vector<Source> sources{mnist(), fashion_mnist(), cifar10(), cifar100()};
  return sources;
}

const Source* find_source(std::string_view name) {
  for (const auto& source : all_sources())
    if (source.name == name) return &source;
  return nullptr;
}

}  // namespace noisysgd
