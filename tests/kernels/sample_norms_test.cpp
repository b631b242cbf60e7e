// Squared norms of the gradients of single samples, against the formulas in double precision.
#include <noisysgd/kernels/sample_norms.h>

#include <array>

#include <noisysgd/core/tensor.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/random_tensor.h"
#include "tests/reference/second_moment_reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// Norms that hold something already.
std::vector<float> before(int64_t samples) { return random_tensor(samples, 9, 3); }

double sum_of_squares(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

// Shapes that differ in everything, with strides that leave a rest and padding up to the kernel's size.
ConvShape random_shape(uint32_t number) {
  auto draw = [stream = 1000 * (number + 1)](int64_t least, int64_t most) mutable {
    return least + random_integers(1, ++stream, static_cast<uint32_t>(most - least + 1))[0];
  };
  ConvShape s{};
  for (int64_t* extent : {&s.height, &s.width}) *extent = draw(1, 9);
  for (int64_t* channels : {&s.in_channels, &s.out_channels}) *channels = draw(1, 20);
  for (int64_t* kernel : {&s.kernel_height, &s.kernel_width}) *kernel = draw(1, 4);
  for (int64_t* stride : {&s.stride_height, &s.stride_width}) *stride = draw(1, 3);
  s.batch = draw(1, 5);
  s.padding_height = draw(std::max<int64_t>(0, (s.kernel_height - s.height + 1) / 2), s.kernel_height);
  s.padding_width = draw(std::max<int64_t>(0, (s.kernel_width - s.width + 1) / 2), s.kernel_width);
  return s;
}

void check_conv(const ConvShape& s) {
  INFO(describe(s));
  Context context(test_device, 2);
  const std::vector<float> x = random_tensor(input_size(s), 1), grad_y = random_tensor(output_size(s), 2);
  const Tensor norms = from_host(context, {s.batch}, before(s.batch));
  conv_sample_norms(context.queue, s, from_host(context, {input_size(s)}, x).f32(),
                    from_host(context, {output_size(s)}, grad_y).f32(), norms.f32());
  std::vector<double> expected = to_double(before(s.batch));
  ConvShape one = s;
  one.batch = 1;
  const auto sample = [](const std::vector<float>& values, int64_t n, int64_t size) {
    return std::vector<float>(values.begin() + n * size, values.begin() + (n + 1) * size);
  };
  for (int64_t n = 0; n < s.batch; ++n)
    for (const double g :
         second_moment_reference(one, sample(x, n, input_size(one)), sample(grad_y, n, output_size(one))).sum)
      expected[static_cast<size_t>(n)] += g * g;
  CHECK(compare(to_host<float>(context, norms), expected, {.terms = static_cast<double>(s.positions())}) == "");
}

}  // namespace

TEST_CASE("the norms of a convolution's samples are those of their gradients") {
  for (uint32_t number = 0; number < 60; ++number) check_conv(random_shape(number));
  for (const ConvShape& s : {ConvShape{1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
                            {3, 16, 16, 8, 16, 3, 3, 1, 1, 1, 1},
                            {2, 6, 9, 3, 5, 2, 4, 1, 2, 1, 3},
                            {3, 4, 4, 48, 40, 3, 3, 1, 1, 1, 1},   // several blocks of weights on a device
                            {2100, 2, 2, 1, 2, 2, 2, 1, 1, 0, 0}})  // more samples than blocks
    check_conv(s);
}

TEST_CASE("the norms of outer products and of rows") {
  Context context(test_device, 2);
  for (const auto& [samples, outputs, inputs] :
       {std::array<int64_t, 3>{1, 1, 1}, {5, 10, 33}, {3, 700, 2000}, {2500, 3, 2}}) {
    CAPTURE(samples, outputs, inputs);
    const std::vector<float> y = random_tensor(samples * outputs, 1), x = random_tensor(samples * inputs, 2);
    const Tensor on_y = from_host(context, {samples * outputs}, y), on_x = from_host(context, {samples * inputs}, x);
    const Tensor products = from_host(context, {samples}, before(samples));
    const Tensor rows = from_host(context, {samples}, before(samples));
    sample_norms(context.queue, samples, outputs, on_y.f32(), inputs, on_x.f32(), products.f32());
    sample_norms(context.queue, samples, outputs, on_y.f32(), 0, nullptr, rows.f32());
    std::vector<double> of_products = to_double(before(samples)), of_rows = of_products;
    for (int64_t n = 0; n < samples; ++n) {
      const double of_y = sum_of_squares(y.data() + n * outputs, outputs);
      of_products[static_cast<size_t>(n)] += of_y * sum_of_squares(x.data() + n * inputs, inputs);
      of_rows[static_cast<size_t>(n)] += of_y;
    }
    CHECK(compare(to_host<float>(context, products), of_products) == "");
    CHECK(compare(to_host<float>(context, rows), of_rows) == "");
  }
}

TEST_CASE("no samples have no norms") {
  Context context(test_device, 2);
  const Tensor norms = from_host(context, {1}, before(1));
  sample_norms(context.queue, 0, 3, nullptr, 2, nullptr, norms.f32());
  conv_sample_norms(context.queue, ConvShape{0, 4, 4, 2, 3, 3, 3, 1, 1, 0, 0}, nullptr, nullptr, norms.f32());
  CHECK(to_host<float>(context, norms) == before(1));
}
