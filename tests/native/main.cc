// The native tests: the arithmetic of csrc/ against plain formulas, without Python, so that sanitizers
// see all of it and other processors can be tried.
//
//   native_tests            runs every test
//   native_tests TEXT ...   those whose name contains one of the texts
#include <algorithm>
#include <cstdio>
#include <exception>

#include "shared.h"

using namespace duologue;

static bool is_wanted(const std::string& name, int count, char** texts) {
  return count == 0 || std::any_of(texts, texts + count, [&](const char* text) {
           return name.find(text) != std::string::npos;
         });
}

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // nothing is lost in a crash
  std::vector<Test> tests;
  for (const auto& list : {linear_tests(), kernel_tests(), attention_tests(), model_tests(),
                           refused_tests(), thread_tests()}) {
    tests.insert(tests.end(), list.begin(), list.end());
  }
  std::string names;
  for (const std::string& isa : isa_names()) names += " " + isa;
  std::printf("instruction sets:%s\n", names.c_str());

  int64_t num_run = 0, num_failed = 0;
  for (const Test& test : tests) {
    if (!is_wanted(test.name, argc - 1, argv + 1)) continue;
    const int64_t before = num_failures();
    set_case("");
    try {
      test.run();
    } catch (const std::exception& error) {
      check(false, std::string("unexpected exception: ") + error.what(), test.name, 0);
    }
    ++num_run;
    if (num_failures() == before) continue;
    ++num_failed;
    std::printf("FAILED  %s\n", test.name);
  }
  std::printf("%lld tests, %lld checks, %lld tests failed\n", static_cast<long long>(num_run),
              static_cast<long long>(num_checks()), static_cast<long long>(num_failed));
  if (num_run == 0) std::printf("no test has such a name\n");
  return num_run > 0 && num_failed == 0 ? 0 : 1;
}
