// SPDX-License-Identifier: MIT
#include "bench_report.h"

#include "engine.h"
#include "error.h"
#include "json_string.h"
#include "machine.h"
#include "model.h"
#include "weight_types.h"

namespace thimble::tools {
namespace {

// What follows from a result.
struct Rates {
  double prefill_tokens, prefill_median, prefill_operations;  // a second
  double decode_tokens, decode_median, decode_bytes;          // a second
  double peak_share, read_share;  // of the machine's limits, if they are known
};

// Multiplications by weights in a prefill of n tokens; the head sees the last one only.
double prefill_multiplications(const thimble_model& model, uint32_t n) {
  const FileHeader& header = header_of(model);
  const auto weights = [&](SectionKind kind) {
    const Matrix m = matrix_of(model, kind);
    return static_cast<double>(m.rows) * static_cast<double>(m.cols);
  };
  const double layer = weights(kAttentionQkv) + weights(kAttentionOutput) +
                       weights(kFeedForwardGateUp) + weights(kFeedForwardDown);
  return layer * header.n_layers * n + weights(header.tied_head ? kTokenEmbedding : kOutputHead);
}

Rates rates_of(const BenchReport& report, const BenchResult& result) {
  const auto rate = [](double amount, double limit) { return limit > 0 ? amount / limit : 0; };
  const bool int8 = weight_type(report.model.weight_type).has_scales;
  Rates r{};
  r.prefill_tokens = rate(report.work.n_prefill, result.prefill.fastest);
  r.prefill_median = rate(report.work.n_prefill, result.prefill.median);
  r.prefill_operations = rate(2 * prefill_multiplications(report.model, report.work.n_prefill),
                              result.prefill.fastest);
  r.decode_tokens = rate(report.work.n_decode, result.decode.fastest);
  r.decode_median = rate(report.work.n_decode, result.decode.median);
  r.decode_bytes = r.decode_tokens * static_cast<double>(weight_bytes_per_token(report.model));
  r.peak_share = rate(r.prefill_operations, int8 ? report.limits.int8 : report.limits.f32);
  r.read_share = rate(r.decode_bytes, report.limits.weights);
  return r;
}

std::string weights_text(const thimble_model& m) {
  const WeightTypeName& type = weight_type(m.weight_type);
  if (!type.has_scales) return format("%s, tile %u", type.name, m.row_tile);
  const std::string group = m.group ? std::to_string(m.group) : "row";
  return format("%s, group %s, tile %u", type.name, group.c_str(), m.row_tile);
}

const char* plural(uint32_t n) {
  return n == 1 ? "" : "s";
}

unsigned long long wide(uint64_t value) {
  return value;
}

const char* kv_text(const BenchWork& work) {
  return work.kv_type == THIMBLE_KV_Q8 ? "q8" : "f32";
}

// Microseconds a token.
PartTimes per_token(const PartTimes& parts, uint32_t n) {
  return parts.scaled_to(parts.total() * 1e6 / n);
}

std::string parts_to_text(const BenchReport& report) {
  std::string out = format("\n%-21s", "us/token");
  for (const char* name : kPartNames) out += format("%20s", name);
  out += format("%12s\n", "total");
  const auto line = [&](const char* what, const BenchResult& result, const PartTimes& parts,
                        uint32_t n) {
    const PartTimes times = per_token(parts, n);
    const double total = times.total();
    out += format("%-9s%-12s", what, result.isa.c_str());
    for (double time : times.of) {
      out += format("%11.2f %6.1f %%", time, total > 0 ? time / total * 100 : 0);
    }
    out += format("%12.2f\n", total);
  };
  for (const BenchResult& result : report.results) {
    line("prefill", result, result.prefill_parts, report.work.n_prefill);
    line("decode", result, result.decode_parts, report.work.n_decode);
  }
  return out;
}

// Decoding under the rule, beside the same without it.
std::string ruled_to_text(const BenchReport& report) {
  std::string out =
      format("\n%-36s%12s%10s%15s\n", "under the rule", "decode t/s", "median", "a step costs");
  for (const BenchResult& result : report.results) {
    const RunSeconds &free = result.decode, &ruled = result.ruled;
    if (ruled.fastest <= 0) return "\nunder the rule: nothing is drawn but ends\n";
    out += format("%-36s%12.1f%10.1f%+13.1f %%\n", result.isa.c_str(),
                  report.work.n_decode / ruled.fastest, report.work.n_decode / ruled.median,
                  (ruled.fastest / free.fastest - 1) * 100);
  }
  return out;
}

std::string parts_to_json(const BenchReport& report, const PartTimes& parts, uint32_t n) {
  if (!report.work.has_parts) return "null";
  const PartTimes times = per_token(parts, n);
  std::string out = "{";
  for (uint32_t i = 0; i < kParts; ++i) out += format("\"%s\": %.5f, ", kPartNames[i], times.of[i]);
  return out + format("\"total\": %.5f}", times.total());
}

}  // namespace

std::string to_text(const BenchReport& report) {
  const thimble_model& m = report.model;
  const BenchWork& w = report.work;
  const MachineLimits& l = report.limits;
  const size_t arena_bytes = report.results.empty() ? 0 : report.results[0].arena_bytes;
  std::string out;
  out += format("model    %s: %llu parameters; dim %u, hidden %u, layers %u, heads %u (KV %u), ",
                report.name.c_str(), wide(m.n_params), m.dim, m.hidden_dim, m.n_layers, m.n_heads,
                m.n_kv_heads);
  out += format("vocabulary %u, context %u\n", m.vocab_size, m.n_ctx);
  out += format("weights  %s: %zu bytes of model, %llu bytes of weights read a token\n",
                weights_text(m).c_str(), m.image_bytes, wide(weight_bytes_per_token(m)));
  const std::string drafts = w.n_draft ? format(", drafts of %u", w.n_draft) : std::string();
  out += format("session  %u positions in %s, batch %u%s: %zu bytes of arena; peak RSS %.1f MB\n",
                w.n_ctx, kv_text(w), w.n_batch, drafts.c_str(), arena_bytes,
                static_cast<double>(report.peak_rss_bytes) * 1e-6);
  out += format("work     prefill of %u token%s, ", w.n_prefill, plural(w.n_prefill));
  if (w.depth > 0) out += format("behind %u in the cache, ", w.depth);
  out += format("then %u decoded; fastest and median of %u run%s\n", w.n_decode, w.n_runs,
                plural(w.n_runs));
  if (report.has_limits) {
    out += format("limits   read %.1f GB/s from DRAM, %.1f GB/s from a block of %zu MiB, ",
                  l.dram * 1e-9, l.cache * 1e-9, kCachedBytes >> 20);
    out += format("%.1f GB/s from one as large as the weights\n", l.weights * 1e-9);
    out += format("         float32 %.1f GFLOP/s (%s), int8 %.1f GOP/s (%s)\n", l.f32 * 1e-9,
                  l.f32_with, l.int8 * 1e-9, l.int8_with);
  }

  const bool int8 = weight_type(m.weight_type).has_scales;
  const char* const share_names[] = {report.has_limits ? "  of peak" : "",
                                     report.has_limits ? "  of read" : ""};
  out += format("\n%-12s%12s%10s%10s%s   %12s%10s%10s%9s%s   %s\n", "kernels", "prefill t/s",
                "median", int8 ? "GOP/s" : "GFLOP/s", share_names[0], "decode t/s", "median",
                "ms/token", "GB/s", share_names[1], "logits-hash");
  for (const BenchResult& result : report.results) {
    const Rates r = rates_of(report, result);
    const auto share = [&](double value) {
      return report.has_limits ? format("%7.1f %%", value * 100) : std::string();
    };
    out += format("%-12s%12.1f%10.1f%10.1f%s   ", result.isa.c_str(), r.prefill_tokens,
                  r.prefill_median, r.prefill_operations * 1e-9, share(r.peak_share).c_str());
    out += format("%12.1f%10.1f%10.4f%9.2f%s   0x%016llx\n", r.decode_tokens, r.decode_median,
                  r.decode_tokens > 0 ? 1e3 / r.decode_tokens : 0, r.decode_bytes * 1e-9,
                  share(r.read_share).c_str(), wide(result.logits_hash));
  }
  if (w.rule) out += ruled_to_text(report);
  return w.has_parts ? out + parts_to_text(report) : out;
}

std::string to_json(const BenchReport& report) {
  const thimble_model& m = report.model;
  const BenchWork& w = report.work;
  const MachineLimits& l = report.limits;
  std::string out = "{\n";
  out += "  \"model\": " + json_string(report.name) + ",\n";
  out += format("  \"shape\": {\"dim\": %u, \"hidden_dim\": %u, \"n_layers\": %u, ", m.dim,
                m.hidden_dim, m.n_layers);
  out += format("\"n_heads\": %u, \"n_kv_heads\": %u, \"head_dim\": %u, ", m.n_heads, m.n_kv_heads,
                m.head_dim);
  out += format("\"vocab_size\": %u, \"n_ctx\": %u, \"n_params\": %llu},\n", m.vocab_size, m.n_ctx,
                wide(m.n_params));
  const WeightTypeName& type = weight_type(m.weight_type);
  out += format("  \"weights\": {\"type\": \"%s\", \"group\": %s, \"row_tile\": %u, ", type.name,
                !type.has_scales ? "null"
                : m.group        ? std::to_string(m.group).c_str()
                                 : "\"row\"",
                m.row_tile);
  out += format("\"model_bytes\": %zu, \"bytes_per_token\": %llu},\n", m.image_bytes,
                wide(weight_bytes_per_token(m)));
  out += format("  \"work\": {\"n_ctx\": %u, \"kv\": \"%s\", \"n_batch\": %u, \"n_draft\": %u, ",
                w.n_ctx, kv_text(w), w.n_batch, w.n_draft);
  out += format("\"prefill\": %u, ", w.n_prefill);
  out += format("\"decode\": %u, \"depth\": %u, \"runs\": %u},\n", w.n_decode, w.depth, w.n_runs);
  out += format("  \"peak_rss_bytes\": %zu,\n", report.peak_rss_bytes);
  if (report.has_limits) {
    out += format("  \"limits\": {\"dram_gb_per_s\": %.3f, \"cache_gb_per_s\": %.3f, ",
                  l.dram * 1e-9, l.cache * 1e-9);
    out += format("\"cache_bytes\": %zu, \"weights_gb_per_s\": %.3f, ", kCachedBytes,
                  l.weights * 1e-9);
    out += format("\"f32_gflop_per_s\": %.3f, \"f32_with\": \"%s\", ", l.f32 * 1e-9, l.f32_with);
    out +=
        format("\"int8_gop_per_s\": %.3f, \"int8_with\": \"%s\"},\n", l.int8 * 1e-9, l.int8_with);
  } else {
    out += "  \"limits\": null,\n";
  }
  out += "  \"results\": [";
  const char* separator = "\n";
  for (const BenchResult& result : report.results) {
    const Rates r = rates_of(report, result);
    const auto share = [&](double value) {
      return report.has_limits ? format("%.5f", value) : std::string("null");
    };
    out += separator;
    separator = ",\n";
    out += format("    {\"isa\": \"%s\", \"prefill_tokens_per_s\": %.3f, ", result.isa.c_str(),
                  r.prefill_tokens);
    out += format("\"prefill_median_tokens_per_s\": %.3f, ", r.prefill_median);
    out += format("\"prefill_gop_per_s\": %.4f, \"prefill_share_of_peak\": %s, ",
                  r.prefill_operations * 1e-9, share(r.peak_share).c_str());
    out += format("\"decode_tokens_per_s\": %.3f, \"decode_ms_per_token\": %.6f, ", r.decode_tokens,
                  r.decode_tokens > 0 ? 1e3 / r.decode_tokens : 0);
    out += format("\"decode_median_tokens_per_s\": %.3f, ", r.decode_median);
    out += format("\"decode_gb_per_s\": %.4f, \"decode_share_of_read\": %s, ",
                  r.decode_bytes * 1e-9, share(r.read_share).c_str());
    const double ruled = result.ruled.fastest;
    out += "\"ruled_decode_tokens_per_s\": " +
           (ruled > 0 ? format("%.3f, ", w.n_decode / ruled) : std::string("null, "));
    out += "\"prefill_us_per_token\": " + parts_to_json(report, result.prefill_parts, w.n_prefill) +
           ", \"decode_us_per_token\": " + parts_to_json(report, result.decode_parts, w.n_decode) +
           ", ";
    out += format("\"arena_bytes\": %zu, \"cpu_share\": %.4f, \"logits_hash\": \"0x%016llx\"}",
                  result.arena_bytes, result.cpu_share, wide(result.logits_hash));
  }
  return out + "\n  ]\n}\n";
}

}  // namespace thimble::tools
