#include <noisysgd/data/glyphs.h>

#include <array>

#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

namespace zero {
constexpr Point loop_a[]{{0.54f, 0.02f}, {0.26f, 0.14f}, {0.12f, 0.5f},  {0.26f, 0.87f}, {0.52f, 0.98f},
                         {0.77f, 0.86f}, {0.88f, 0.5f},  {0.75f, 0.13f}, {0.5f, 0.02f}};
constexpr Stroke strokes_a[]{loop_a};
constexpr Point narrow_b[]{{0.6f, 0.03f},  {0.36f, 0.1f},  {0.25f, 0.45f}, {0.3f, 0.84f}, {0.48f, 0.98f},
                           {0.68f, 0.84f}, {0.74f, 0.46f}, {0.64f, 0.1f},  {0.47f, 0.04f}};
constexpr Stroke strokes_b[]{narrow_b};
constexpr Point slanted_c[]{{0.72f, 0.06f}, {0.36f, 0.12f}, {0.12f, 0.55f}, {0.22f, 0.93f}, {0.5f, 0.94f},
                            {0.82f, 0.55f}, {0.84f, 0.16f}, {0.62f, 0.03f}, {0.45f, 0.1f}};
constexpr Stroke strokes_c[]{slanted_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace zero

namespace one {
constexpr Point stem_a[]{{0.5f, 0.02f}, {0.5f, 0.5f}, {0.5f, 0.98f}};
constexpr Stroke strokes_a[]{stem_a};
constexpr Point flag_b[]{{0.28f, 0.24f}, {0.42f, 0.15f}, {0.54f, 0.02f}};
constexpr Point stem_b[]{{0.54f, 0.02f}, {0.53f, 0.5f}, {0.53f, 0.98f}};
constexpr Stroke strokes_b[]{flag_b, stem_b};
constexpr Point flag_c[]{{0.26f, 0.22f}, {0.42f, 0.14f}, {0.52f, 0.02f}};
constexpr Point stem_c[]{{0.52f, 0.02f}, {0.52f, 0.5f}, {0.52f, 0.97f}};
constexpr Point foot_c[]{{0.24f, 0.97f}, {0.52f, 0.97f}, {0.8f, 0.97f}};
constexpr Stroke strokes_c[]{flag_c, stem_c, foot_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace one

namespace two {
constexpr Point hook_a[]{{0.16f, 0.26f}, {0.3f, 0.07f},  {0.56f, 0.02f}, {0.8f, 0.16f},
                         {0.79f, 0.4f},  {0.52f, 0.68f}, {0.14f, 0.96f}};
constexpr Point foot_a[]{{0.14f, 0.96f}, {0.5f, 0.95f}, {0.88f, 0.95f}};
constexpr Stroke strokes_a[]{hook_a, foot_a};
constexpr Point hook_b[]{{0.18f, 0.22f}, {0.34f, 0.05f}, {0.62f, 0.04f}, {0.78f, 0.22f}, {0.72f, 0.46f}, {0.5f, 0.72f},
                         {0.24f, 0.93f}, {0.12f, 0.86f}, {0.25f, 0.76f}, {0.5f, 0.86f},  {0.72f, 0.97f}, {0.9f, 0.9f}};
constexpr Stroke strokes_b[]{hook_b};
constexpr Point hook_c[]{{0.2f, 0.12f}, {0.5f, 0.02f}, {0.82f, 0.18f}, {0.74f, 0.46f}, {0.46f, 0.72f}, {0.2f, 0.95f}};
constexpr Point foot_c[]{{0.2f, 0.95f}, {0.44f, 0.9f}, {0.64f, 0.97f}, {0.88f, 0.9f}};
constexpr Stroke strokes_c[]{hook_c, foot_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace two

namespace three {
constexpr Point top_a[]{{0.18f, 0.13f}, {0.46f, 0.02f}, {0.76f, 0.13f}, {0.76f, 0.33f}, {0.42f, 0.47f}};
constexpr Point bottom_a[]{{0.42f, 0.47f}, {0.78f, 0.55f}, {0.86f, 0.77f}, {0.56f, 0.98f}, {0.14f, 0.87f}};
constexpr Stroke strokes_a[]{top_a, bottom_a};
constexpr Point roof_b[]{{0.2f, 0.04f}, {0.5f, 0.04f}, {0.8f, 0.04f}};
constexpr Point slope_b[]{{0.8f, 0.04f}, {0.62f, 0.22f}, {0.44f, 0.4f}};
constexpr Point bottom_b[]{{0.44f, 0.4f}, {0.78f, 0.5f}, {0.84f, 0.76f}, {0.54f, 0.98f}, {0.15f, 0.88f}};
constexpr Stroke strokes_b[]{roof_b, slope_b, bottom_b};
constexpr Point whole_c[]{{0.2f, 0.1f},   {0.5f, 0.01f},  {0.74f, 0.16f}, {0.68f, 0.36f}, {0.46f, 0.46f},
                          {0.48f, 0.49f}, {0.74f, 0.58f}, {0.8f, 0.8f},   {0.54f, 0.98f}, {0.18f, 0.9f}};
constexpr Stroke strokes_c[]{whole_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace three

namespace four {
constexpr Point left_a[]{{0.24f, 0.05f}, {0.2f, 0.3f}, {0.14f, 0.56f}};
constexpr Point bar_a[]{{0.14f, 0.56f}, {0.5f, 0.56f}, {0.88f, 0.54f}};
constexpr Point stem_a[]{{0.7f, 0.12f}, {0.68f, 0.5f}, {0.66f, 0.98f}};
constexpr Stroke strokes_a[]{left_a, bar_a, stem_a};
constexpr Point slope_b[]{{0.64f, 0.02f}, {0.36f, 0.34f}, {0.1f, 0.66f}};
constexpr Point bar_b[]{{0.1f, 0.66f}, {0.5f, 0.66f}, {0.92f, 0.66f}};
constexpr Point stem_b[]{{0.64f, 0.02f}, {0.64f, 0.5f}, {0.64f, 0.98f}};
constexpr Stroke strokes_b[]{slope_b, bar_b, stem_b};
constexpr Point left_c[]{{0.2f, 0.04f}, {0.16f, 0.34f}, {0.24f, 0.52f}, {0.5f, 0.56f}, {0.74f, 0.44f}};
constexpr Point stem_c[]{{0.8f, 0.04f}, {0.75f, 0.44f}, {0.7f, 0.98f}};
constexpr Stroke strokes_c[]{left_c, stem_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace four

namespace five {
constexpr Point roof_a[]{{0.8f, 0.04f}, {0.52f, 0.04f}, {0.26f, 0.04f}};
constexpr Point back_a[]{{0.26f, 0.04f}, {0.23f, 0.24f}, {0.2f, 0.45f}};
constexpr Point bowl_a[]{{0.2f, 0.45f}, {0.5f, 0.36f}, {0.82f, 0.53f}, {0.8f, 0.83f}, {0.5f, 0.98f}, {0.14f, 0.88f}};
constexpr Stroke strokes_a[]{roof_a, back_a, bowl_a};
constexpr Point whole_b[]{{0.84f, 0.06f}, {0.5f, 0.04f},  {0.3f, 0.12f},  {0.26f, 0.34f}, {0.48f, 0.44f},
                          {0.76f, 0.58f}, {0.76f, 0.84f}, {0.46f, 0.98f}, {0.16f, 0.88f}};
constexpr Stroke strokes_b[]{whole_b};
constexpr Point roof_c[]{{0.86f, 0.02f}, {0.58f, 0.07f}, {0.28f, 0.06f}};
constexpr Point back_c[]{{0.28f, 0.06f}, {0.27f, 0.26f}, {0.24f, 0.42f}};
constexpr Point bowl_c[]{{0.24f, 0.42f}, {0.56f, 0.42f}, {0.76f, 0.62f}, {0.62f, 0.88f}, {0.3f, 0.98f}, {0.12f, 0.9f}};
constexpr Stroke strokes_c[]{roof_c, back_c, bowl_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace five

namespace six {
constexpr Point whole_a[]{{0.72f, 0.04f}, {0.42f, 0.2f}, {0.2f, 0.52f}, {0.2f, 0.83f}, {0.48f, 0.98f},
                          {0.78f, 0.86f}, {0.8f, 0.65f}, {0.54f, 0.5f}, {0.22f, 0.66f}};
constexpr Stroke strokes_a[]{whole_a};
constexpr Point whole_b[]{{0.76f, 0.12f}, {0.58f, 0.02f}, {0.3f, 0.2f},  {0.17f, 0.56f}, {0.22f, 0.88f}, {0.5f, 0.98f},
                          {0.76f, 0.84f}, {0.74f, 0.62f}, {0.5f, 0.52f}, {0.24f, 0.64f}, {0.2f, 0.72f}};
constexpr Stroke strokes_b[]{whole_b};
constexpr Point whole_c[]{{0.56f, 0.02f}, {0.38f, 0.3f},  {0.26f, 0.62f}, {0.3f, 0.9f},  {0.52f, 0.97f},
                          {0.7f, 0.84f},  {0.68f, 0.68f}, {0.5f, 0.62f},  {0.28f, 0.74f}};
constexpr Stroke strokes_c[]{whole_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace six

namespace seven {
constexpr Point roof_a[]{{0.14f, 0.05f}, {0.5f, 0.05f}, {0.86f, 0.05f}};
constexpr Point leg_a[]{{0.86f, 0.05f}, {0.6f, 0.45f}, {0.4f, 0.98f}};
constexpr Stroke strokes_a[]{roof_a, leg_a};
constexpr Point roof_b[]{{0.14f, 0.08f}, {0.5f, 0.05f}, {0.84f, 0.04f}};
constexpr Point leg_b[]{{0.84f, 0.04f}, {0.62f, 0.46f}, {0.46f, 0.98f}};
constexpr Point bar_b[]{{0.34f, 0.5f}, {0.56f, 0.5f}, {0.78f, 0.48f}};
constexpr Stroke strokes_b[]{roof_b, leg_b, bar_b};
constexpr Point serif_c[]{{0.14f, 0.2f}, {0.15f, 0.12f}, {0.17f, 0.05f}};
constexpr Point roof_c[]{{0.17f, 0.05f}, {0.5f, 0.08f}, {0.84f, 0.04f}};
constexpr Point leg_c[]{{0.84f, 0.04f}, {0.72f, 0.3f}, {0.54f, 0.56f}, {0.5f, 0.98f}};
constexpr Stroke strokes_c[]{serif_c, roof_c, leg_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace seven

namespace eight {
constexpr Point whole_a[]{{0.5f, 0.47f},  {0.24f, 0.35f}, {0.23f, 0.13f}, {0.5f, 0.02f}, {0.77f, 0.13f},
                          {0.76f, 0.34f}, {0.5f, 0.47f},  {0.2f, 0.64f},  {0.2f, 0.87f}, {0.5f, 0.98f},
                          {0.8f, 0.87f},  {0.8f, 0.65f},  {0.5f, 0.47f}};
constexpr Stroke strokes_a[]{whole_a};
constexpr Point whole_b[]{{0.78f, 0.14f}, {0.54f, 0.02f}, {0.28f, 0.14f}, {0.34f, 0.36f},
                          {0.62f, 0.55f}, {0.76f, 0.78f}, {0.52f, 0.98f}, {0.24f, 0.82f},
                          {0.38f, 0.58f}, {0.66f, 0.38f}, {0.8f, 0.16f},  {0.72f, 0.06f}};
constexpr Stroke strokes_b[]{whole_b};
constexpr Point upper_c[]{{0.52f, 0.46f}, {0.32f, 0.36f}, {0.3f, 0.12f}, {0.52f, 0.02f},
                          {0.72f, 0.14f}, {0.7f, 0.36f},  {0.52f, 0.46f}};
constexpr Point lower_c[]{{0.52f, 0.46f}, {0.24f, 0.58f}, {0.18f, 0.82f}, {0.48f, 0.98f},
                          {0.8f, 0.84f},  {0.78f, 0.6f},  {0.52f, 0.46f}};
constexpr Stroke strokes_c[]{upper_c, lower_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace eight

namespace nine {
constexpr Point loop_a[]{{0.8f, 0.26f},  {0.58f, 0.5f},  {0.26f, 0.42f}, {0.2f, 0.18f},
                         {0.48f, 0.02f}, {0.76f, 0.12f}, {0.8f, 0.26f}};
constexpr Point leg_a[]{{0.8f, 0.26f}, {0.79f, 0.6f}, {0.7f, 0.98f}};
constexpr Stroke strokes_a[]{loop_a, leg_a};
constexpr Point loop_b[]{{0.78f, 0.3f},  {0.5f, 0.5f},   {0.24f, 0.4f}, {0.22f, 0.14f},
                         {0.52f, 0.02f}, {0.76f, 0.12f}, {0.78f, 0.3f}};
constexpr Point leg_b[]{{0.78f, 0.3f}, {0.82f, 0.7f}, {0.62f, 0.95f}, {0.26f, 0.9f}};
constexpr Stroke strokes_b[]{loop_b, leg_b};
constexpr Point whole_c[]{{0.76f, 0.12f}, {0.52f, 0.03f}, {0.26f, 0.16f}, {0.28f, 0.38f}, {0.54f, 0.42f},
                          {0.76f, 0.2f},  {0.78f, 0.12f}, {0.7f, 0.46f},  {0.5f, 0.98f}};
constexpr Stroke strokes_c[]{whole_c};
constexpr Glyph glyphs[]{strokes_a, strokes_b, strokes_c};
}  // namespace nine

constexpr std::array<std::span<const Glyph>, 10> kDigits{zero::glyphs,  one::glyphs,  two::glyphs, three::glyphs,
                                                         four::glyphs,  five::glyphs, six::glyphs, seven::glyphs,
                                                         eight::glyphs, nine::glyphs};

}  // namespace

std::span<const Glyph> glyphs_of_digit(int digit) {
  NSGD_CHECK(digit >= 0 && digit < 10, "glyphs: digit is {}, expected 0 to 9", digit);
  return kDigits[static_cast<size_t>(digit)];
}

}  // namespace noisysgd
