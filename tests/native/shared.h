// What all native tests share: checks, seeded numbers, and matrices in every format.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

#include "isa.h"
#include "linear.h"

namespace duologue {

// A test: its name is "group: what holds".
struct Test {
  const char* name;
  void (*run)();
};

// One list for each file of tests.
std::vector<Test> linear_tests();
std::vector<Test> kernel_tests();
std::vector<Test> attention_tests();
std::vector<Test> model_tests();
std::vector<Test> refused_tests();
std::vector<Test> thread_tests();

// Counts a check and prints one that failed; any thread may call it. CHECK goes on after a failure.
void check(bool condition, const std::string& what, const char* file, int line);
int64_t num_checks();
int64_t num_failures();
#define CHECK(condition) ::duologue::check(condition, #condition, __FILE__, __LINE__)

// What the checks of this thread are about, printed with those that fail.
void set_case(const std::string& text);

// Every value lies within `tolerance` of the expected one, both measured by the largest expected value,
// or by 1 if that is less.
void check_close(const std::vector<float>& result, const std::vector<double>& expected,
                 double tolerance, const char* file, int line);
#define CHECK_CLOSE(result, expected, tolerance) \
  ::duologue::check_close(result, expected, tolerance, __FILE__, __LINE__)

// Equal bits.
template <class T>
bool is_same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The statement throws `Error` itself, no other class, with `text` in its message.
template <class Error>
void check_throws(const std::function<void()>& statement, const std::string& text, const char* file,
                  int line) {
  try {
    statement();
  } catch (const std::exception& error) {
    const std::string message = error.what();
    check(typeid(error) == typeid(Error), "the wrong class: " + message, file, line);
    check(message.find(text) != std::string::npos, "'" + text + "' in: " + message, file, line);
    return;
  }
  check(false, "nothing was thrown, expected: " + text, file, line);
}
#define CHECK_THROWS(Error, text, statement) \
  ::duologue::check_throws<Error>([&] { statement; }, text, __FILE__, __LINE__)

// Numbers that are the same everywhere for a seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  float uniform(float low, float high);
  int64_t integer(int64_t low, int64_t high);  // both ends included
  std::vector<float> floats(int64_t count, float scale = 1.0f);
  std::vector<int64_t> ids(int64_t count, int64_t vocab_size);

 private:
  uint64_t next();
  uint64_t state_;
};

uint16_t to_bf16(float x);  // rounded to the nearest, ties to even
float from_bf16(uint16_t bits);
std::vector<float> round_to_bf16(std::vector<float> values);

// A row as bytes: what `quantize` promises.
struct PlainBytes {
  float scale;
  std::vector<int8_t> bytes;
};
PlainBytes plain_quantize(const float* x, int64_t n);

// A matrix [out, in] in one of the formats, with the values that it stands for.
struct Matrix {
  Matrix(Format format, int64_t out, int64_t in, Random& random);

  WeightView view() const;

  Format format;
  int64_t out, in;
  std::vector<float> f32;
  std::vector<uint16_t> bf16;
  std::vector<int8_t> s8;
  std::vector<uint8_t> s4;
  std::vector<float> scale;
  std::vector<double> values;
};

constexpr Format kFormats[] = {Format::kF32, Format::kBf16, Format::kS8, Format::kS4};
const char* name_of(Format format);

// Calls body(kernels) for each instruction set of this processor.
void for_each_isa(const std::function<void(const Kernels&)>& body);

}  // namespace duologue
