// Counts what libtorch computes in any program, without a profiler of its own: operations that touch memory, and the
// bytes that they read and write.
//
//   t=$(python -c 'import os, torch; print(os.path.dirname(torch.__file__))')
//   g++ -O2 -DNDEBUG -std=c++17 -shared -fPIC count_operations.cpp -o count.so -I $t/include -L $t/lib -ltorch_cpu -lc10
//   LD_PRELOAD=$PWD/count.so bench_transformer --device libtorch --library_kernels --mode train ...
//
// An operation that is made of others is not counted, nor is a view. On a GPU each of these is a kernel, or a few.
#include <ATen/record_function.h>

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

struct Total {
  long calls = 0;
  double bytes = 0;
};

std::mutex lock;
std::map<std::string, Total> totals;

// Bytes in memory: an axis that is repeated by a stride of 0 is there once.
double bytes_of(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.is_meta()) return 0;
  double count = tensor.element_size();
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) count *= tensor.stride(axis) == 0 ? 1 : tensor.size(axis);
  return count;
}

double bytes_of(const c10::IValue& value) {
  if (value.isTensor()) return bytes_of(value.toTensor());
  double sum = 0;
  if (value.isTensorList())
    for (const at::Tensor& tensor : value.toTensorList()) sum += bytes_of(tensor);
  return sum;
}

// Whether anything within it was counted, and what it reads: inputs are known at its beginning only.
struct Call : at::ObserverContext {
  bool has_parts = false;
  double read = 0;
};

thread_local std::vector<Call*> calls;

// Views, memory that is taken, and questions.
const std::set<std::string> FREE = {
    "aten::view",     "aten::_unsafe_view",    "aten::reshape",      "aten::_reshape_alias", "aten::transpose",
    "aten::t",        "aten::permute",         "aten::expand",       "aten::narrow",         "aten::slice",
    "aten::select",   "aten::unbind",          "aten::squeeze",      "aten::unsqueeze",      "aten::detach",
    "aten::alias",    "aten::split",           "aten::chunk",        "aten::as_strided",     "aten::is_nonzero",
    "aten::resize_",  "aten::set_",            "aten::numpy_T",      "detach",               "aten::requires_grad_",
    "aten::item",     "aten::_local_scalar_dense", "aten::lift_fresh", "aten::result_type",  "aten::movedim",
    "aten::flatten",  "aten::empty",           "aten::empty_strided", "aten::empty_like",    "aten::resolve_conj",
    "aten::resolve_neg", "aten::expand_as",    "aten::view_as",      "aten::contiguous",     "aten::to"};
// As a part of another operation, its beginning.
const std::set<std::string> BEGINNINGS = {"aten::fill_", "aten::zero_", "aten::zeros"};

// Kernels that may have something brought in order first.
const std::set<std::string> KERNELS = {
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::native_layer_norm", "aten::native_layer_norm_backward",
    "aten::native_group_norm", "aten::native_group_norm_backward", "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward"};

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
  auto call = std::make_unique<Call>();
  for (const auto& input : function.inputs()) call->read += bytes_of(input);
  calls.push_back(call.get());
  return call;
}

void end(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* call = static_cast<Call*>(context);
  if (!calls.empty() && calls.back() == call) calls.pop_back();
  const std::string name = function.name();
  // Nodes of the graph are no operations.
  const bool is_work = name.rfind("autograd::", 0) != 0 && !FREE.count(name) && !(BEGINNINGS.count(name) && !calls.empty());
  const bool is_counted = KERNELS.count(name) || (!call->has_parts && is_work);
  if (!calls.empty()) calls.back()->has_parts |= is_counted || call->has_parts;
  if (!is_counted) return;
  double bytes = call->read;
  for (const auto& output : function.outputs()) bytes += bytes_of(output);
  std::lock_guard<std::mutex> guard(lock);
  Total& total = totals[name];
  total.calls += 1;
  total.bytes += bytes;
}

struct Counter {
  Counter() {
    at::addGlobalCallback(
        at::RecordFunctionCallback(begin, end).needsInputs(true).needsOutputs(true).scopes({at::RecordScope::FUNCTION}));
  }
  ~Counter() {
    Total products, others;
    for (const auto& [name, total] : totals) {
      const bool is_product = name.find("mm") != std::string::npos || name.find("attention") != std::string::npos ||
                              name.find("conv") != std::string::npos;
      Total& sum = is_product ? products : others;
      sum.calls += total.calls;
      sum.bytes += total.bytes;
      std::fprintf(stderr, "%-60s %6ld %14.0f\n", name.c_str(), total.calls, total.bytes);
    }
    std::fprintf(stderr, "products and attention: %ld calls, %.3f GB\n", products.calls, products.bytes / 1e9);
    std::fprintf(stderr, "all others: %ld calls, %.3f GB\n", others.calls, others.bytes / 1e9);
  }
} counter;

}  // namespace
