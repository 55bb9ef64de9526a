// Processes that find each other through a TCP store and sum tensors in main memory by Gloo. Both are
// inside libtorch; its headers of Gloo are stood in for by ours (stand_in/).
#include "text.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <memory>

namespace {
struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
};
} // namespace

extern "C" {
// Waits until all processes are there. `server`: this process holds the store, others connect to it.
char* leuko_group_join(
    const char* host,
    int port,
    int server,
    const char* prefix,
    int rank,
    int world,
    int64_t timeout_ms,
    Group** out) {
  return leuko::guarded([&] {
    std::chrono::milliseconds timeout(timeout_ms);
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = server != 0;
    options.numWorkers = static_cast<size_t>(world);
    options.timeout = timeout;
    c10::intrusive_ptr<c10d::Store> tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    auto group = std::make_unique<Group>();
    group->store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    group->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
        group->store, rank, world, c10d::ProcessGroupGloo::Options::create_default(timeout));
    *out = group.release();
  });
}

void leuko_group_leave(Group* group) {
  // A peer that is gone must not turn an orderly end into a crash.
  char* text = leuko::guarded([&] { delete group; });
  if (text && text != leuko::no_room_for_text) {
    std::free(text);
  }
}

char* leuko_group_sum(Group* group, at::Tensor* values) {
  return leuko::guarded([&] {
    std::vector<at::Tensor> tensors{*values};
    group->gloo->allreduce(tensors)->wait();
  });
}

char* leuko_group_broadcast(Group* group, at::Tensor* values, int root) {
  return leuko::guarded([&] {
    std::vector<at::Tensor> tensors{*values};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.rootTensor = 0;
    group->gloo->broadcast(tensors, options)->wait();
  });
}

char* leuko_group_barrier(Group* group, int64_t timeout_ms) {
  return leuko::guarded([&] {
    c10d::BarrierOptions options;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    group->gloo->barrier(options)->wait();
  });
}

// Leaves `size` bytes in the store for the other processes.
char* leuko_group_tell(Group* group, const char* key, const uint8_t* bytes, size_t size) {
  return leuko::guarded([&] { group->store->set(key, std::vector<uint8_t>(bytes, bytes + size)); });
}

// Waits for the bytes that another process leaves; they must be exactly `size`.
char* leuko_group_hear(Group* group, const char* key, uint8_t* bytes, size_t size) {
  return leuko::guarded([&] {
    auto value = group->store->get(key);
    TORCH_CHECK(
        value.size() == size, "key ", key, " has ", value.size(), " bytes, expected ", size);
    std::copy(value.begin(), value.end(), bytes);
  });
}
}
