// SPDX-License-Identifier: MIT
// Thimble for C++17: header-only and thin, on top of thimble.h, which is the manual. What is here
// checks nothing that the C API does not check, allocates nothing (but Memory, if you use it), and
// throws nothing: calls give a Status, or a Result that holds a value or the Status in its place.
// Where exceptions are wanted, define THIMBLE_EXCEPTIONS before and put check() around a call.
#ifndef THIMBLE_THIMBLE_HPP
#define THIMBLE_THIMBLE_HPP

#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#ifdef THIMBLE_EXCEPTIONS
#include <exception>
#endif

#include "thimble/thimble.h"

namespace thimble {
inline namespace cpp {  // names of its own for the linker, whatever the engine's are

// ---- What calls take and give --------------------------------------------------------------

// `size` objects at `data`, which are somebody else's: of an array, or of anything with data() and
// size().
template <class T>
class Span {
 public:
  constexpr Span() = default;
  constexpr Span(T* data, size_t size) : data_(data), size_(size) {}
  template <size_t N>
  constexpr Span(T (&array)[N]) : data_(array), size_(N) {}
  template <class C, class = std::enable_if_t<
                         std::is_convertible_v<decltype(std::declval<C&>().data()), T*> &&
                         !std::is_same_v<std::remove_cv_t<C>, Span>>>
  constexpr Span(C& container) : data_(container.data()), size_(container.size()) {}
  template <class C, class = std::enable_if_t<
                         std::is_const_v<T> &&
                         std::is_convertible_v<decltype(std::declval<const C&>().data()), T*> &&
                         !std::is_same_v<C, Span>>>
  constexpr Span(const C& container) : data_(container.data()), size_(container.size()) {}

  constexpr T* data() const { return data_; }
  constexpr size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T& operator[](size_t i) const { return data_[i]; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }
  constexpr Span first(size_t n) const { return {data_, n}; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

// True if a call did what it should; is_more(): it has more to do, call it again.
class [[nodiscard]] Status {
 public:
  constexpr Status(thimble_status code = THIMBLE_OK) : code_(code) {}
  constexpr explicit operator bool() const { return code_ >= 0; }
  constexpr bool is_more() const { return code_ == THIMBLE_MORE; }
  constexpr thimble_status code() const { return code_; }
  const char* text() const { return thimble_status_text(code_); }

 private:
  thimble_status code_;
};
constexpr bool operator==(Status a, Status b) {
  return a.code() == b.code();
}
constexpr bool operator!=(Status a, Status b) {
  return a.code() != b.code();
}

// A value, if true; else only the status counts.
template <class T>
class [[nodiscard]] Result {
 public:
  constexpr Result(T value) : value_(value) {}
  constexpr Result(Status status) : status_(status) {}
  constexpr explicit operator bool() const { return static_cast<bool>(status_); }
  constexpr Status status() const { return status_; }
  constexpr const T& operator*() const { return value_; }
  constexpr const T* operator->() const { return &value_; }

 private:
  T value_ = {};
  Status status_;
};

#ifdef THIMBLE_EXCEPTIONS
class Error : public std::exception {
 public:
  explicit Error(Status status) : status_(status) {}
  Status status() const { return status_; }
  const char* what() const noexcept override { return status_.text(); }

 private:
  Status status_;
};

// Whether there is more to do.
inline bool check(Status status) {
  if (!status) throw Error(status);
  return status.is_more();
}
template <class T>
T check(const Result<T>& result) {
  if (!result) throw Error(result.status());
  return *result;
}
#endif

// Settings start as zeros, which are the defaults.
struct Config : thimble_config {
  constexpr Config() : thimble_config() {}
};
struct Sampling : thimble_sampling {
  constexpr Sampling() : thimble_sampling() {}
};

// An aligned block of the heap, for those who have one: an arena, or a model file that was read.
// Empty if there was no room.
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes)
      : data_(static_cast<uint8_t*>(
            ::operator new (bytes, std::align_val_t{THIMBLE_ALIGNMENT}, std::nothrow))),
        size_(data_ ? bytes : 0) {}
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory() { ::operator delete (data_, std::align_val_t{THIMBLE_ALIGNMENT}); }

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(Memory& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// ---- Files ---------------------------------------------------------------------------------

// A view of a model's image, which stays the caller's. model->dim is a fact of it.
class Model {
 public:
  Status open(Span<const uint8_t> image) {
    return thimble_model_open(&model_, image.data(), image.size());
  }
  Status verify() { return thimble_model_verify(&model_); }
  bool is_end(int32_t token) const { return thimble_is_end(&model_, token) != 0; }
  const thimble_fault& fault() const { return model_.fault; }  // why open or verify said no
  const thimble_model* get() const { return &model_; }
  const thimble_model* operator->() const { return &model_; }

 private:
  thimble_model model_ = {};
};

class Adapter {
 public:
  Status open(const Model& model, Span<const uint8_t> image) {
    return thimble_adapter_open(&adapter_, model.get(), image.data(), image.size());
  }
  Status verify() { return thimble_adapter_verify(&adapter_); }
  const thimble_fault& fault() const { return adapter_.fault; }
  const thimble_adapter* get() const { return &adapter_; }
  const thimble_adapter* operator->() const { return &adapter_; }

 private:
  thimble_adapter adapter_ = {};
};

class Rule {
 public:
  Status open(const Model& model, Span<const uint8_t> image) {
    return thimble_rule_open(&rule_, model.get(), image.data(), image.size());
  }
  Status verify() { return thimble_rule_verify(&rule_); }
  const thimble_fault& fault() const { return rule_.fault; }
  const thimble_rule* get() const { return &rule_; }
  const thimble_rule* operator->() const { return &rule_; }

 private:
  thimble_rule rule_ = {};
};

// ---- Session -------------------------------------------------------------------------------

// Bytes of arena that Session::init needs; 0: the configuration is not valid for the model.
inline size_t session_bytes(const Model& model, const thimble_config& config = Config()) {
  return thimble_session_bytes(model.get(), &config);
}

// The one view of a session in the caller's arena; may be moved, not copied. Nothing needs to be
// ended. Until init was good, every call is ARGUMENT.
class Session {
 public:
  Session() = default;
  Session(Session&& other) noexcept { swap(other); }
  Session& operator=(Session&& other) noexcept {
    swap(other);
    return *this;
  }

  Status init(const Model& model, const thimble_config& config, Span<uint8_t> arena) {
    vocab_size_ = model->vocab_size;
    return thimble_session_init(&session_, model.get(), &config, arena.data(), arena.size());
  }
  explicit operator bool() const { return session_ != nullptr; }
  thimble_session* get() const { return session_; }

  // Text to tokens, at the beginning of `room`; flags: THIMBLE_ENCODE_*.
  Result<Span<int32_t>> encode(std::string_view text, uint32_t flags, Span<int32_t> room) {
    return tokens(
        room, thimble_encode(session_, text.data(), text.size(), flags, room.data(), room.size()));
  }
  Result<Span<int32_t>> encode_turn(thimble_role role, std::string_view text, uint32_t flags,
                                    Span<int32_t> room) {
    return tokens(room, thimble_encode_turn(session_, role, text.data(), text.size(), flags,
                                            room.data(), room.size()));
  }

  Status feed(Span<const int32_t> tokens) {
    return thimble_feed(session_, tokens.data(), tokens.size());
  }
  Status feed(int32_t token) { return thimble_feed(session_, &token, 1); }
  Status step(uint64_t budget = 0) { return thimble_step(session_, budget); }
  Status rewind(uint32_t position = 0) { return thimble_rewind(session_, position); }
  Result<int32_t> sample(const thimble_sampling& sampling = Sampling()) {
    const int32_t token = thimble_sample(session_, &sampling);
    if (token < 0) return Status(static_cast<thimble_status>(token));
    return token;
  }

  // Call it until is_more() says no.
  Status self_test(uint64_t budget = 0, thimble_self_test_report* report = nullptr) {
    return thimble_self_test(session_, budget, report);
  }

  uint32_t position() const { return thimble_position(session_); }
  uint32_t context_size() const { return thimble_context_size(session_); }
  uint32_t room() const { return thimble_room(session_); }
  const char* isa() const { return thimble_isa(session_); }
  thimble_drafts draft_counts() const { return thimble_draft_counts(session_); }
  Span<const float> logits() const {
    const float* all = thimble_logits(session_);
    return {all, all ? vocab_size_ : 0};
  }
  uint64_t logits_hash(uint64_t hash = THIMBLE_HASH_START) const {
    return thimble_logits_hash(session_, hash);
  }

  Status use(const Adapter& adapter) { return thimble_session_lora(session_, adapter.get()); }
  Status use_no_adapter() { return thimble_session_lora(session_, nullptr); }
  Status constrain(const Rule& rule) { return thimble_session_constrain(session_, rule.get()); }
  Status constrain_no_more() { return thimble_session_constrain(session_, nullptr); }
  float confidence() const { return thimble_session_confidence(session_); }
  bool rule_is_met() const { return thimble_rule_is_met(session_) != 0; }

  size_t save_bytes() const { return thimble_session_save_bytes(session_); }
  Status save(Span<uint8_t> out) const {
    return thimble_session_save(session_, out.data(), out.size());
  }
  Status load(Span<const uint8_t> saved) {
    return thimble_session_load(session_, saved.data(), saved.size());
  }

 private:
  static Result<Span<int32_t>> tokens(Span<int32_t> room, int32_t n) {
    if (n < 0) return Status(static_cast<thimble_status>(n));
    return room.first(static_cast<size_t>(n));
  }
  void swap(Session& other) {
    std::swap(session_, other.session_);
    std::swap(vocab_size_, other.vocab_size_);
  }

  thimble_session* session_ = nullptr;
  uint32_t vocab_size_ = 0;
};

// What a session attends to goes to `see` as long as this lives: see(layer, position, first,
// first_head, n_heads, weights, stride), as of thimble_attention_hook.
template <class See>
class AttentionHook {
 public:
  AttentionHook(const Session& session, See see) : session_(session.get()), see_(std::move(see)) {
    thimble_on_attention(session_, call, this);
  }
  AttentionHook(const AttentionHook&) = delete;
  AttentionHook& operator=(const AttentionHook&) = delete;
  ~AttentionHook() { thimble_on_attention(session_, nullptr, nullptr); }

 private:
  static void call(void* self, uint32_t layer, uint32_t position, uint32_t first,
                   uint32_t first_head, uint32_t n_heads, const float* weights, size_t stride) {
    static_cast<AttentionHook*>(self)->see_(layer, position, first, first_head, n_heads, weights,
                                            stride);
  }

  thimble_session* session_;
  See see_;
};

// ---- Text ----------------------------------------------------------------------------------

// One stream of text. What it gives lies at the beginning of `room`.
class Decoder {
 public:
  Result<std::string_view> next(const Model& model, int32_t token, Span<char> room) {
    return text(room, thimble_decode(model.get(), &decoder_, token, room.data(), room.size()));
  }
  Result<std::string_view> end(Span<char> room) {
    return text(room, thimble_decode_end(&decoder_, room.data(), room.size()));
  }

 private:
  static Result<std::string_view> text(Span<char> room, int32_t n) {
    if (n < 0) return Status(static_cast<thimble_status>(n));
    return std::string_view(room.data(), static_cast<size_t>(n));
  }

  thimble_decoder decoder_ = {};
};

// A text on its way to a few bytes, in pieces of the caller's size: step() gives the next piece,
// and says in `more` whether there is another. Stays where it is.
class Packing {
 public:
  Packing() = default;
  Packing(const Packing&) = delete;
  Packing& operator=(const Packing&) = delete;

  Status begin(Session& session, std::string_view text) {
    return thimble_pack_begin(&pack_, session.get(), text.data(), text.size());
  }
  Result<Span<uint8_t>> step(Span<uint8_t> room, bool* more, uint64_t budget = 0) {
    size_t n = 0;
    const Status status = thimble_pack_step(&pack_, budget, room.data(), room.size(), &n);
    *more = status.is_more();
    if (!status) return status;
    return room.first(n);
  }

 private:
  thimble_pack pack_ = {};
};

// And back. `more` is false, and the result true, only where the text is whole and right.
class Unpacking {
 public:
  Unpacking() = default;
  Unpacking(const Unpacking&) = delete;
  Unpacking& operator=(const Unpacking&) = delete;

  // The text's length.
  Result<size_t> begin(Session& session, Span<const uint8_t> packed) {
    size_t bytes = 0;
    const Status status =
        thimble_unpack_begin(&unpack_, session.get(), packed.data(), packed.size(), &bytes);
    if (!status) return status;
    return bytes;
  }
  Result<std::string_view> step(Span<char> room, bool* more, uint64_t budget = 0) {
    size_t n = 0;
    const Status status = thimble_unpack_step(&unpack_, budget, room.data(), room.size(), &n);
    *more = status.is_more();
    if (!status) return status;
    return std::string_view(room.data(), n);
  }

 private:
  thimble_unpack unpack_ = {};
};

}  // namespace cpp
}  // namespace thimble

#endif
