#include <noisysgd/apps/data_description.h>

#include <fmt/format.h>

#include <noisysgd/apps/record.h>
#include <noisysgd/core/printable.h>

namespace noisysgd {

namespace {

std::vector<double> numbers_in(const Record& record, const std::string& key, size_t length) {
  const Json& list = record.at(key);
  NSGD_CHECK(list.is_array() && list.size() == length, "\"{}\" is no list of {} numbers", key, length);
  std::vector<double> numbers;
  for (const Json& value : list) {
    NSGD_CHECK(value.is_number(), "\"{}\" is no list of {} numbers", key, length);
    numbers.push_back(value.get<double>());
  }
  return numbers;
}

bool are_numbers(const std::vector<std::string>& names) {
  for (size_t k = 0; k < names.size(); ++k)
    if (names[k] != std::to_string(k)) return false;
  return true;
}

}  // namespace

DataDescription DataDescription::of(const Dataset& images, const ChannelStatistics& normalisation) {
  DataDescription data{{images.height, images.width, images.channels}, {}, normalisation};
  for (const std::string& name : images.class_names) data.class_names.push_back(printable(name));
  return data;
}

Json DataDescription::json() const {
  return {{"image", image.channels_first().extents()},
          {"classes", classes()},
          {"class_names", class_names},
          {"mean", normalisation.mean},
          {"std", normalisation.standard_deviation}};
}

DataDescription DataDescription::from(const Json& json) {
  const Record record(json);
  const Json& image = record.at("image");
  NSGD_CHECK(image.is_array() && image.size() == 3, "\"image\" is no list of channels, height and width");
  std::vector<int64_t> chw;
  for (const Json& extent : image) {
    NSGD_CHECK(extent.is_number_unsigned() && extent.get<uint64_t>() > 0 && extent.get<uint64_t>() <= most_elements,
               "\"image\" holds {}, expected a whole number from 1 on", extent.dump());
    chw.push_back(extent.get<int64_t>());
  }
  DataDescription data{{chw[1], chw[2], chw[0]}, {}, {}};
  const auto classes = static_cast<size_t>(record.whole("classes", 1, most_elements));
  const Json& names = record.at("class_names");
  NSGD_CHECK(names.is_array() && names.size() == classes, "\"class_names\" is no list of {} texts", classes);
  for (const Json& name : names) {
    NSGD_CHECK(name.is_string(), "\"class_names\" is no list of {} texts", classes);
    data.class_names.push_back(name.get<std::string>());
  }
  const auto channels = static_cast<size_t>(chw[0]);
  data.normalisation = {numbers_in(record, "mean", channels), numbers_in(record, "std", channels)};
  for (const double deviation : data.normalisation.standard_deviation)
    NSGD_CHECK(deviation > 0, "\"std\" holds {}, expected numbers above 0", deviation);
  return data;
}

std::optional<std::string> DataDescription::difference(const DataDescription& other) const {
  if (other.image != image)
    return fmt::format("images of {}, expected {} (channels, height, width)", other.image.channels_first().text(),
                       image.channels_first().text());
  if (other.classes() != classes()) return fmt::format("{} classes, expected {}", other.classes(), classes());
  if (are_numbers(class_names) || are_numbers(other.class_names)) return {};
  for (size_t k = 0; k < class_names.size(); ++k)
    if (class_names[k] != other.class_names[k])
      return fmt::format("class {} is \"{}\", expected \"{}\"", k, other.class_names[k], class_names[k]);
  return {};
}

}  // namespace noisysgd
