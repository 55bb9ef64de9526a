// What tch does not bind: autocast for a device and a type, numeric switches, the current card, what
// libtorch says of itself, arithmetic on lists, and a sum over processes that gradients flow through.
#include "text.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdlib>
#include <utility>
#include <vector>

namespace {
at::DeviceType device_type(int cuda) {
  return cuda ? at::kCUDA : at::kCPU;
}

// Which half type autocast computes in, as in autocast.rs.
enum Half : int { off = 0, bf16 = 1, fp16 = 2 };

// Sums a tensor in place over all processes: ours to call, Rust's to do.
using Sum = char* (*)(const void* group, at::Tensor* values);
using Release = void (*)(const void* group);

// Keeps the group alive as long as the graph that has to be walked back through it.
struct Summer : torch::CustomClassHolder {
  Summer(const void* group, Sum sum, Release release)
      : group(group), sum(sum), release(release) {}
  Summer(const Summer&) = delete;
  Summer& operator=(const Summer&) = delete;
  ~Summer() override {
    release(group);
  }

  at::Tensor of(const at::Tensor& values) const {
    at::Tensor total = values.clone(at::MemoryFormat::Contiguous);
    if (char* text = sum(group, &total)) {
      std::string reason(text);
      if (text != leuko::no_room_for_text) {
        std::free(text);
      }
      TORCH_CHECK(false, reason);
    }
    return total;
  }

  const void* group;
  Sum sum;
  Release release;
};

// y = sum over processes of x; every process's loss depends on every x, so the gradient is summed too.
struct JoinedSum : torch::autograd::Function<JoinedSum> {
  static at::Tensor forward(
      torch::autograd::AutogradContext* context,
      const at::Tensor& values,
      c10::intrusive_ptr<Summer> summer) {
    at::Tensor total = summer->of(values);
    context->saved_data["summer"] = c10::IValue::make_capsule(std::move(summer));
    return total;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    auto capsule = context->saved_data["summer"].toCapsule();
    auto summer = c10::static_intrusive_pointer_cast<Summer>(capsule);
    return {summer->of(gradients[0]), at::Tensor()};
  }
};

std::vector<at::Tensor> listed(const at::Tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    list.push_back(*tensors[i]);
  }
  return list;
}
} // namespace

extern "C" {
char* leuko_text_new(const char* text) {
  return leuko::text_of(text);
}

void leuko_text_free(char* text) {
  if (text != leuko::no_room_for_text) {
    std::free(text);
  }
}

// Enters a region; `before` receives what leuko_autocast_leave has to put back.
char* leuko_autocast_enter(int cuda, int half, int* before) {
  return leuko::guarded([&] {
    auto device = device_type(cuda);
    *before = !at::autocast::is_autocast_enabled(device)                  ? off
        : at::autocast::get_autocast_dtype(device) == at::kBFloat16 ? bf16
                                                                          : fp16;
    if (half != off) {
      at::autocast::set_autocast_dtype(device, half == bf16 ? at::kBFloat16 : at::kHalf);
    }
    at::autocast::set_autocast_enabled(device, half != off);
    at::autocast::increment_nesting();
  });
}

char* leuko_autocast_leave(int cuda, int before) {
  return leuko::guarded([&] {
    auto device = device_type(cuda);
    // The casts of the weights are kept while a region lasts; after it the weights may step.
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    if (before != off) {
      at::autocast::set_autocast_dtype(device, before == bf16 ? at::kBFloat16 : at::kHalf);
    }
    at::autocast::set_autocast_enabled(device, before != off);
  });
}

char* leuko_switches(int tf32, int benchmark, int deterministic) {
  return leuko::guarded([&] {
    auto& context = at::globalContext();
    context.setAllowTF32CuBLAS(tf32 != 0);
    context.setAllowTF32CuDNN(tf32 != 0);
    context.setBenchmarkCuDNN(benchmark != 0 && deterministic == 0);
    context.setDeterministicCuDNN(deterministic != 0);
    // Only warned of: some operators have no deterministic kernel, and refusing them would stop runs.
    context.setDeterministicAlgorithms(deterministic != 0, /*warn_only=*/true);
  });
}

// What the switches are now: bit 0 TF32, bit 1 benchmark, bit 2 deterministic.
char* leuko_switches_now(int* bits) {
  return leuko::guarded([&] {
    auto& context = at::globalContext();
    *bits = (context.allowTF32CuBLAS() && context.allowTF32CuDNN() ? 1 : 0) |
        (context.benchmarkCuDNN() ? 2 : 0) | (context.deterministicAlgorithms() ? 4 : 0);
  });
}

// Makes `card` the one that this thread's CUDA calls go to.
char* leuko_use_card(int card) {
  return leuko::guarded([&] {
    c10::impl::VirtualGuardImpl guard(at::kCUDA);
    guard.setDevice(at::Device(at::kCUDA, static_cast<at::DeviceIndex>(card)));
  });
}

// What libtorch says of its version, build and processor, as text.
char* leuko_build(char** out) {
  return leuko::guarded([&] { *out = leuko::text_of(at::show_config().c_str()); });
}

// Of libtorch's functions on lists those that a training step needs; an empty list is nothing.
char* leuko_scale(at::Tensor* const* values, size_t count, double factor) {
  return leuko::guarded([&] {
    if (count > 0) {
      at::_foreach_mul_(listed(values, count), factor);
    }
  });
}

char* leuko_clear(at::Tensor* const* values, size_t count) {
  return leuko::guarded([&] {
    if (count > 0) {
      at::_foreach_zero_(listed(values, count));
    }
  });
}

char* leuko_add(
    at::Tensor* const* values, const at::Tensor* const* others, size_t count, double factor) {
  return leuko::guarded([&] {
    if (count > 0) {
      at::_foreach_add_(listed(values, count), listed(others, count), factor);
    }
  });
}

char* leuko_approach(
    at::Tensor* const* values, const at::Tensor* const* others, size_t count, double share) {
  return leuko::guarded([&] {
    if (count > 0) {
      at::_foreach_lerp_(listed(values, count), listed(others, count), share);
    }
  });
}

char* leuko_norm(const at::Tensor* const* values, size_t count, double* norm) {
  return leuko::guarded([&] {
    *norm = count > 0
        ? at::stack(at::_foreach_norm(listed(values, count))).norm().item<double>()
        : 0.0;
  });
}

// The sum of `values` over all processes; takes over `group`, given back through `release`.
char* leuko_joined_sum(
    const at::Tensor* values,
    const void* group,
    Sum sum,
    Release release,
    at::Tensor** out) {
  return leuko::guarded([&] {
    auto summer = c10::make_intrusive<Summer>(group, sum, release);
    *out = new at::Tensor(JoinedSum::apply(*values, summer));
  });
}
}
