#include "shared.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <mutex>

namespace duologue {

static std::atomic<int64_t> checks{0}, failures{0};
static std::mutex print_mutex;
static thread_local std::string current_case;

void check(bool condition, const std::string& what, const char* file, int line) {
  ++checks;
  if (condition) return;
  ++failures;
  std::lock_guard<std::mutex> lock(print_mutex);
  std::printf("%s:%d: failed: %s%s%s\n", file, line, what.c_str(), current_case.empty() ? "" : "  # ",
              current_case.c_str());
}

int64_t num_checks() { return checks; }
int64_t num_failures() { return failures; }
void set_case(const std::string& text) { current_case = text; }

void check_close(const std::vector<float>& result, const std::vector<double>& expected,
                 double tolerance, const char* file, int line) {
  if (result.size() != expected.size()) {
    check(false, "sizes differ", file, line);
    return;
  }
  double largest = 1.0;
  for (const double value : expected) largest = std::max(largest, std::fabs(value));
  size_t worst = 0;
  double error = 0.0;
  for (size_t i = 0; i < result.size(); ++i) {
    const double here = std::fabs(static_cast<double>(result[i]) - expected[i]);
    if (!(here <= error)) {  // also for what is no number
      error = here;
      worst = i;
      if (std::isnan(here)) break;
    }
  }
  std::string what = "close";
  if (!result.empty()) {
    what = "[" + std::to_string(worst) + "] is " + std::to_string(result[worst]) + ", expected " +
           std::to_string(expected[worst]);
  }
  check(error <= tolerance * largest, what, file, line);
}

// Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
uint64_t Random::next() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

float Random::uniform(float low, float high) {
  return low + (high - low) * static_cast<float>(next() >> 40) / 16777216.0f;
}

int64_t Random::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
}

std::vector<float> Random::floats(int64_t count, float scale) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(uniform(-scale, scale));
  return values;
}

std::vector<int64_t> Random::ids(int64_t count, int64_t vocab_size) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(integer(0, vocab_size - 1));
  return values;
}

uint16_t to_bf16(float x) {
  // The two neighbours that 16 bits can hold; double keeps the distances exact.
  uint32_t word;
  std::memcpy(&word, &x, 4);
  const uint16_t low = static_cast<uint16_t>(word >> 16), high = static_cast<uint16_t>(low + 1);
  const double below = std::fabs(static_cast<double>(x) - from_bf16(low));
  const double above = std::fabs(static_cast<double>(from_bf16(high)) - x);
  if (below == above) return low % 2 == 0 ? low : high;
  return below < above ? low : high;
}

float from_bf16(uint16_t bits) {
  const uint32_t word = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &word, 4);
  return x;
}

std::vector<float> round_to_bf16(std::vector<float> values) {
  for (float& value : values) value = from_bf16(to_bf16(value));
  return values;
}

PlainBytes plain_quantize(const float* x, int64_t n) {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  PlainBytes result = {largest / 127.0f, {}};
  for (int64_t i = 0; i < n; ++i) {
    result.bytes.push_back(static_cast<int8_t>(std::nearbyint(x[i] * inverse)));
  }
  return result;
}

Matrix::Matrix(Format format, int64_t out, int64_t in, Random& random)
    : format(format), out(out), in(in) {
  const int64_t groups = (in + kGroup - 1) / kGroup;
  const float size = 1.0f / std::sqrt(static_cast<float>(in));
  if (format == Format::kS4) s4.resize(out * ((in + 1) / 2));
  if (format == Format::kS8 || format == Format::kS4) {
    const int64_t count = format == Format::kS8 ? out : out * groups;
    const float step = size / (format == Format::kS8 ? 127.0f : 8.0f);
    for (int64_t i = 0; i < count; ++i) scale.push_back(step * random.uniform(0.5f, 2.0f));
  }
  for (int64_t i = 0; i < out * in; ++i) {
    const int64_t row = i / in, column = i % in;
    if (format == Format::kF32) {
      f32.push_back(random.uniform(-2.0f * size, 2.0f * size));
      values.push_back(f32.back());
    } else if (format == Format::kBf16) {
      bf16.push_back(to_bf16(random.uniform(-2.0f * size, 2.0f * size)));
      values.push_back(from_bf16(bf16.back()));
    } else if (format == Format::kS8) {
      s8.push_back(static_cast<int8_t>(random.integer(-128, 127)));
      values.push_back(double{scale[row]} * s8.back());
    } else {
      const int64_t nibble = random.integer(0, 15);
      s4[row * ((in + 1) / 2) + column / 2] |= static_cast<uint8_t>(nibble << (column % 2 * 4));
      values.push_back(double{scale[row * groups + column / kGroup]} * (nibble - 8));
    }
  }
}

WeightView Matrix::view() const {
  const auto start = [](const auto& array) { return array.empty() ? nullptr : array.data(); };
  WeightView view;
  view.f32 = start(f32);
  view.bf16 = start(bf16);
  view.s8 = start(s8);
  view.s4 = start(s4);
  view.scale = start(scale);
  view.shape = {out, in};
  return view;
}

const char* name_of(Format format) {
  switch (format) {
    case Format::kF32: return "f32";
    case Format::kBf16: return "bf16";
    case Format::kS8: return "s8";
    default: return "s4";
  }
}

void for_each_isa(const std::function<void(const Kernels&)>& body) {
  for (const std::string& name : isa_names()) body(select_kernels(name));
}

}  // namespace duologue
