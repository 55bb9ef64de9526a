// Stand-in: libtorch contains Gloo but its package leaves Gloo's headers out. ProcessGroupGloo.hpp
// holds these types behind shared_ptr only, so that their size and layout never enter our code; the
// one inline call in it (setTimeout) is never instantiated here.
#pragma once
#include <chrono>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
} // namespace gloo
