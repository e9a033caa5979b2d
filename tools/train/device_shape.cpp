// SPDX-License-Identifier: MIT
#include "device_shape.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "error.h"
#include "size_text.h"
#include "weight_types.h"

namespace thimble::tools::train {
namespace {

constexpr double kNearlyAll = 0.97;  // of the most parameters that fit

thimble_config config_of(const ShapeOptions& options) {
  thimble_config config = {};
  config.n_ctx = options.n_ctx;
  config.n_batch = options.n_batch;
  config.kv_type = options.kv_type;
  config.n_candidates = options.n_candidates;
  return config;
}

uint32_t most_kv_heads(uint32_t n_heads) {
  uint32_t n = std::max(1u, n_heads / 2);
  while (n_heads % n != 0) --n;
  return n;
}

class Search {
 public:
  Search(const Device& device, const Vocabulary* vocabulary, uint32_t vocab_size,
         const ShapeOptions& options)
      : device_(device),
        vocabulary_(vocabulary),
        options_(options),
        vocab_size_(vocab_size),
        step_(options.layout.group ? std::max(32u, options.layout.group) : 16) {}

  // The shape of each width and depth with the most key/value heads, then the widest feed-forward,
  // that fit.
  std::vector<DeviceShape> all() const {
    std::vector<DeviceShape> found;
    for (uint32_t layers = kFewestLayers; layers <= kMostLayers; ++layers) {
      for (uint32_t dim = first_dim(layers); dim <= kMostAspect * layers; dim += step_) {
        std::optional<DeviceShape> shape = fullest(dim, layers);
        if (shape) found.push_back(std::move(*shape));
      }
    }
    return found;
  }

  ModelShape smallest() const { return narrowest(first_dim(kFewestLayers), kFewestLayers, 1); }

  DeviceShape described(const ModelShape& shape) const {
    DeviceShape out;
    out.shape = shape;
    out.needs = needs_of(shape, vocabulary_, options_);
    out.n_params = count_parameters(shape);
    if (device_.flash) out.flash_left = device_.flash - out.needs.flash.total();
    if (device_.ram) out.ram_left = device_.ram - out.needs.ram.total();
    return out;
  }

 private:
  static uint32_t rounded_up(uint32_t value, uint32_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
  }
  uint32_t first_dim(uint32_t layers) const { return rounded_up(kLeastAspect * layers, step_); }

  static uint32_t head_dim_of(uint32_t dim) {
    for (const uint32_t head_dim : {64u, 32u}) {
      const uint32_t n = dim / head_dim;
      if (dim % head_dim == 0 && n >= 6 && (n % 2 == 0 || n % 3 == 0)) return head_dim;
    }
    return 16;
  }

  ModelShape narrowest(uint32_t dim, uint32_t layers, uint32_t n_kv_heads) const {
    const bool is_llama = options_.family == ShapeFamily::kLlama;
    ModelShape shape;
    shape.vocab_size = vocab_size_;
    shape.n_ctx = options_.n_ctx;
    shape.dim = dim;
    shape.n_layers = layers;
    shape.head_dim = head_dim_of(dim);
    shape.n_heads = dim / shape.head_dim;
    shape.n_kv_heads = is_llama ? n_kv_heads : shape.n_heads;
    shape.hidden_dim = rounded_up(is_llama ? (8 * dim + 2) / 3 : 4 * dim, step_);
    set_family(options_.family, &shape);
    return shape;
  }

  uint32_t widest_hidden(uint32_t dim, uint32_t narrowest) const {
    const uint32_t most = options_.family == ShapeFamily::kLlama ? 10 * dim / 3 : 5 * dim;
    return std::max(narrowest, most / step_ * step_);
  }

  bool fits_ram(const ShapeNeeds& needs) const {
    return device_.ram == 0 || needs.ram.total() <= device_.ram;
  }
  bool fits(const ModelShape& shape) const {
    if (options_.most_parameters && count_parameters(shape) > options_.most_parameters) {
      return false;
    }
    // Most are far too large, which is quickly seen: no weight takes less than half a byte.
    if (device_.flash && count_parameters(shape) / 2 > device_.flash) return false;
    const ShapeNeeds needs = needs_of(shape, vocabulary_, options_);
    return (device_.flash == 0 || needs.flash.total() <= device_.flash) && fits_ram(needs);
  }

  std::optional<DeviceShape> fullest(uint32_t dim, uint32_t layers) const {
    ModelShape shape = narrowest(dim, layers, 1);
    if (!fits(shape)) return std::nullopt;
    if (options_.family == ShapeFamily::kLlama) {
      shape.n_kv_heads = most_kv_heads(shape.n_heads);
      while (shape.n_kv_heads > 1 && !fits_ram(needs_of(shape, vocabulary_, options_))) {
        do --shape.n_kv_heads;
        while (shape.n_heads % shape.n_kv_heads != 0);
      }
    }
    if (!fits(shape)) return std::nullopt;
    uint32_t good = shape.hidden_dim, bad = widest_hidden(dim, good) + step_;
    while (bad - good > step_) {
      shape.hidden_dim = good + (bad - good) / step_ / 2 * step_;
      (fits(shape) ? good : bad) = shape.hidden_dim;
    }
    shape.hidden_dim = good;
    return described(shape);
  }

  const Device& device_;
  const Vocabulary* vocabulary_;
  const ShapeOptions& options_;
  uint32_t vocab_size_, step_;
};

double aspect_of(const ModelShape& shape) {
  return static_cast<double>(shape.dim) / shape.n_layers;
}

double distance(const ModelShape& shape) {
  return std::fabs(std::log(aspect_of(shape) / kBestAspect));
}

bool is_better(const DeviceShape& a, const DeviceShape& b) {
  const double near_a = distance(a.shape), near_b = distance(b.shape);
  return near_a < near_b || (near_a <= near_b && a.n_params > b.n_params);
}

std::string place_of(const Device& device) {
  return device.board ? std::string(device.board->name) : std::string("the device");
}

std::string missing(const char* what, uint64_t need, uint64_t have) {
  if (have == 0 || need <= have) return "";
  return format("\n%s is too small: the smallest shape needs %s, there are %llu, %llu are missing",
                what, size_text(need).c_str(), static_cast<unsigned long long>(have),
                static_cast<unsigned long long>(need - have));
}

[[noreturn]] void refuse(const Device& device, const ModelShape& smallest,
                         const Vocabulary* vocabulary, const ShapeOptions& options) {
  const ShapeNeeds needs = needs_of(smallest, vocabulary, options);
  std::string text =
      "no shape fits " + place_of(device) + "; the smallest is " + shape_text(smallest);
  text += missing("flash", needs.flash.total(), device.flash);
  const std::string ram = missing("RAM", needs.ram.total(), device.ram);
  text += ram;
  if (!ram.empty()) {
    const ImageOutline outline = outline_image(smallest, options.layout, vocabulary);
    const uint32_t n = longest_context(outline.model, config_of(options), device.ram);
    text += n ? format("; a context of %u would fit", n) : "; no context would fit";
  }
  const uint64_t n_params = count_parameters(smallest);
  if (options.most_parameters && n_params > options.most_parameters) {
    text += format("\nthe smallest shape has %llu parameters, at most %llu are wanted",
                   static_cast<unsigned long long>(n_params),
                   static_cast<unsigned long long>(options.most_parameters));
  }
  throw Refused(text);
}

std::string left_of(uint64_t left, uint64_t have, const char* what) {
  if (have == 0) return "";
  return format(", %llu of %llu bytes of %s left", static_cast<unsigned long long>(left),
                static_cast<unsigned long long>(have), what);
}

std::string explained(const DeviceShape& chosen, uint64_t most, const Device& device,
                      const ShapeOptions& options) {
  const ModelShape& s = chosen.shape;
  std::string text = shape_text(s) + format(": %llu parameters as %s",
                                            static_cast<unsigned long long>(chosen.n_params),
                                            weight_type(options.layout.type).name);
  text += left_of(chosen.flash_left, device.flash, "flash") +
          left_of(chosen.ram_left, device.ram, "RAM");
  text += format(
      "\nof the shapes within 3 %% of the most that fits (%llu parameters) the one whose "
      "dim / layers, %.1f, is nearest to %u: deep and thin learns more at this size",
      static_cast<unsigned long long>(most), aspect_of(s), kBestAspect);
  const bool is_llama = options.family == ShapeFamily::kLlama;
  if (is_llama && s.n_kv_heads < most_kv_heads(s.n_heads)) {
    text +=
        format("; RAM has no room for the keys and values of %u heads", most_kv_heads(s.n_heads));
  }
  const bool is_ram_full = device.ram > 0 && chosen.ram_left < device.ram / 8;
  if (chosen.flash_left > device.flash / 8 && is_ram_full && options.most_parameters == 0) {
    text += "; RAM is what limits it: a shorter context makes room for a larger model";
  }
  return text;
}

}  // namespace

std::string shape_text(const ModelShape& s) {
  return format("dim %u, hidden %u, %u layers, %u head%s of %u (%u key/value), context %u", s.dim,
                s.hidden_dim, s.n_layers, s.n_heads, s.n_heads > 1 ? "s" : "", s.head_dim,
                s.n_kv_heads, s.n_ctx);
}

void set_family(ShapeFamily family, ModelShape* shape) {
  if (family != ShapeFamily::kGpt2) return;  // the defaults are Llama's
  shape->norm = kNormLayer;
  shape->biases = kKnownBiases;
  shape->learned_positions = true;
  shape->activation = kActivationGeluTanh;
  shape->gated = false;
  shape->ropes = {std::vector<uint64_t>(shape->head_dim / 2)};  // nothing is rotated
}

ShapeNeeds needs_of(const ModelShape& shape, const Vocabulary* vocabulary,
                    const ShapeOptions& options) {
  const ImageOutline outline = outline_image(shape, options.layout, vocabulary);
  return {plan_flash(outline.model), plan_ram(outline.model, config_of(options))};
}

DeviceShape shape_for(const Device& device, const Vocabulary* vocabulary, uint32_t vocab_size,
                      const ShapeOptions& options) {
  if (device.flash == 0 && options.most_parameters == 0) {
    throw WrongUsage("expected the device's flash, --board NAME or --flash SIZE");
  }
  const Search search(device, vocabulary, vocab_size, options);
  const std::vector<DeviceShape> found = search.all();
  if (found.empty()) refuse(device, search.smallest(), vocabulary, options);
  uint64_t most = 0;
  for (const DeviceShape& each : found) most = std::max(most, each.n_params);
  const DeviceShape* best = nullptr;
  for (const DeviceShape& each : found) {
    if (static_cast<double>(each.n_params) < kNearlyAll * static_cast<double>(most)) continue;
    if (!best || is_better(each, *best)) best = &each;
  }
  DeviceShape chosen = *best;
  chosen.text = explained(chosen, most, device, options);
  return chosen;
}

Vocabulary vocabulary_of_size(TokenizerType kind, uint32_t n_tokens, uint64_t text_bytes) {
  Vocabulary v;
  v.kind = kind;
  if (kind == kTokenizerByteBpe) v.pre_tokenizer = kPreTokenizerGpt2;
  for (uint32_t i = 0; i < n_tokens; ++i) {
    const uint64_t before = text_bytes * i / n_tokens, end = text_bytes * (i + 1) / n_tokens;
    v.texts.emplace_back(static_cast<size_t>(end - before), 'a');
  }
  v.scores.assign(n_tokens, 0.0f);
  v.types.assign(n_tokens, kTokenNormal);
  if (kind == kTokenizerByteBpe) v.splits.assign(n_tokens, 0);
  return v;
}

}  // namespace thimble::tools::train
