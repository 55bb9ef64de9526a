// How an error leaves C++: as text, never by unwinding into Rust.
#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

namespace leuko {
// Null means success, so a text that could not be copied still has to be one.
inline char no_room_for_text[] = "out of memory (no room for the text of an error)";

inline char* text_of(const char* text) noexcept {
  char* copy = strdup(text);
  return copy ? copy : no_room_for_text;
}

// Runs `run`; null, or why it failed, to be freed with leuko_text_free.
template <class Run>
char* guarded(Run&& run) noexcept {
  try {
    run();
    return nullptr;
  } catch (const c10::Error& error) {
    return text_of(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return text_of(error.what());
  } catch (...) {
    return text_of("an exception without a text");
  }
}
} // namespace leuko
