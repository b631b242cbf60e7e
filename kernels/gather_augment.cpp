#include <noisysgd/kernels/gather_augment.h>

#include <algorithm>
#include <vector>

#include <noisysgd/kernels/check.h>

namespace noisysgd::kernels::cpu {
namespace {

// An output pixel is pixel · scale + shift, a multiply-add that vectorises along a row.
struct Normalisation {
  std::vector<float> scale;  // [C] inverse_std / 255
  std::vector<float> shift;  // [C] -mean · inverse_std, also the value of a black pixel
};

template <int kChannels>  // 0: any number
void gather_image(const uint8_t* image, int64_t H, int64_t W, int64_t any_channels, const Normalisation& normalisation,
                  const AugmentOptions& options, const AugmentDecision& decision, float* out) {
  const int64_t C = kChannels > 0 ? kChannels : any_channels;
  const float* scale = normalisation.scale.data();
  const float* shift = normalisation.shift.data();
  const auto fill_black = [&](float* row, int64_t first, int64_t last) {
    for (int64_t x = first; x < last; ++x)
      for (int64_t c = 0; c < C; ++c) row[x * C + c] = shift[c];
  };
  // Columns [first, last) of the output come from the image, the others are padding.
  const int64_t move = decision.offset_x - options.padding;
  const int64_t first = std::clamp<int64_t>(decision.flip ? move : -move, 0, W);
  const int64_t last = std::clamp<int64_t>(decision.flip ? W + move : W - move, first, W);
  for (int64_t y = 0; y < H; ++y) {
    float* out_row = out + y * W * C;
    const int64_t source_y = source_row(options, decision, y);
    if (source_y < 0 || source_y >= H) {
      fill_black(out_row, 0, W);
      continue;
    }
    const uint8_t* row = image + source_y * W * C;
    fill_black(out_row, 0, first);
    fill_black(out_row, last, W);
    if (decision.flip) {
      for (int64_t x = first; x < last; ++x)
        for (int64_t c = 0; c < C; ++c)
          out_row[x * C + c] = static_cast<float>(row[(W - 1 - x + move) * C + c]) * scale[c] + shift[c];
    } else {
      for (int64_t x = first; x < last; ++x)
        for (int64_t c = 0; c < C; ++c)
          out_row[x * C + c] = static_cast<float>(row[(x + move) * C + c]) * scale[c] + shift[c];
    }
  }
}

}  // namespace

void gather_augment(Queue& queue, const ImageSet& set, const int32_t* indices, int64_t M,
                    const Augmentation& augmentation, float* out) {
  const int64_t N = set.count, H = set.height, W = set.width, C = set.channels;
  const AugmentOptions& options = augmentation.options;
  NSGD_CHECK(options.padding >= 0, "gather_augment: padding is {}, expected at least 0", options.padding);
  for (int64_t m = 0; m < M; ++m)
    NSGD_CHECK(indices[m] >= 0 && indices[m] < N, "gather_augment: indices[{}] is {}, expected 0 to {}", m, indices[m],
               N - 1);
  Normalisation normalisation;
  for (int64_t c = 0; c < C; ++c) {
    normalisation.scale.push_back(set.inverse_std[c] / 255.0f);
    normalisation.shift.push_back(-set.mean[c] * set.inverse_std[c]);
  }
  const auto gather = C == 1 ? gather_image<1> : C == 3 ? gather_image<3> : gather_image<0>;
  const int64_t image_size = H * W * C;
#pragma omp parallel for schedule(static) num_threads(queue.threads())
  for (int64_t m = 0; m < M; ++m) {
    const auto decision =
        decide_augmentation(options, augmentation.seed, augmentation.epoch, static_cast<uint32_t>(indices[m]));
    gather(set.images + indices[m] * image_size, H, W, C, normalisation, options, decision, out + m * image_size);
  }
}

}  // namespace noisysgd::kernels::cpu
