// What a key that a configuration does not have may have meant: a known key of nearly the same name, one with another
// name in other programs (lr, bs, wd), or one that belongs to another object.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace noisysgd {

// Text to append to a message, as of suggestion() in core/suggest.h. here: the keys of the object that has the unknown
// one. everywhere: the paths of all keys ("optimizer.learning_rate").
std::string key_suggestion(std::string_view key, std::span<const std::string> here,
                           std::span<const std::string> everywhere);

}  // namespace noisysgd
