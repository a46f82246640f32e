#include "imports/arcface_onnx.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "base/errors.h"
#include "storage/onnx_file.h"

namespace magicid::imports {
namespace {

using base::UserError;
using models::nn::SourceTensor;
using models::nn::WeightSource;
using storage::OnnxNode;

constexpr double kEpsilon = 1e-5;  // of arcface_torch's norms, which our loader adds

// The operations that have weights, in their order, and what they become.
class FaceGraph {
 public:
  explicit FaceGraph(const WeightSource& source) : source_(source), onnx_(*source.onnx) {
    static const std::set<std::string> weighted = {"Conv", "BatchNormalization", "PRelu", "Gemm", "MatMul"};
    static const std::set<std::string> plain = {"Add",    "Flatten", "Reshape",   "Constant", "Identity", "Shape",    "Gather",
                                                "Concat", "Cast",    "Unsqueeze", "Dropout",  "Slice",    "Transpose"};
    for (const auto& node : onnx_.nodes()) {
      // What stands between weights and the operation that takes them in an export that folds nothing.
      if ((node.operation == "Identity" || node.operation == "Unsqueeze") && !node.input.empty() && !node.output.empty()) same_[node.output[0]] = node.input[0];
      if (node.operation == "Transpose" && !node.input.empty() && !node.output.empty()) turned_[node.output[0]] = node.input[0];
      if (weighted.contains(node.operation)) {
        if (node.input.empty() || node.output.empty()) throw UserError(source.path.string(), ": a '", node.operation, "' without input or output");
        nodes_.push_back(&node);
      }
      if (!weighted.contains(node.operation) && !plain.contains(node.operation))
        throw UserError(source.path.string(), ": its operation '", node.operation,
                        "' belongs to no face embedder that this program computes (IResNet and insightface's "
                        "MobileFaceNet, as arcface_torch exports them; graphs that prepare their own input, from MXNet, are others)");
    }
    result_ = source;
    result_.tensors.clear();
    result_.onnx = nullptr;
  }

  bool done() const { return at_ == nodes_.size(); }
  std::string operation(std::size_t ahead = 0) const { return at_ + ahead < nodes_.size() ? nodes_[at_ + ahead]->operation : ""; }
  std::size_t count(const std::string& operation) const {
    return static_cast<std::size_t>(std::count_if(nodes_.begin(), nodes_.end(), [&](const OnnxNode* node) { return node->operation == operation; }));
  }
  std::string input() const { return done() || nodes_[at_]->input.empty() ? "" : nodes_[at_]->input[0]; }

  // Whether some convolution takes what a norm makes of something else than a convolution's output: an IResNet's blocks begin so, a MobileFaceNet's norms stand
  // behind convolutions.
  bool has_norms_first() const {
    std::map<std::string, const OnnxNode*> makers;
    for (const auto& node : onnx_.nodes())
      for (const auto& output : node.output) makers[output] = &node;
    const auto maker = [&](const OnnxNode& node) -> const OnnxNode* {
      const auto it = node.input.empty() ? makers.end() : makers.find(node.input[0]);
      return it == makers.end() ? nullptr : it->second;
    };
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const OnnxNode* node) {
      const OnnxNode* const norm = node->operation == "Conv" ? maker(*node) : nullptr;
      const OnnxNode* const before = norm && norm->operation == "BatchNormalization" ? maker(*norm) : nullptr;
      return before && before->operation != "Conv";
    });
  }

  // Whether the next operations are a convolution (with its norm) and then a norm of the same input: a block whose shortcut is computed first.
  bool shortcut_first() const {
    if (operation() != "Conv") return false;
    const OnnxNode& conv = *nodes_[at_];
    std::size_t next = at_ + 1;
    if (next < nodes_.size() && nodes_[next]->operation == "BatchNormalization" && !nodes_[next]->input.empty() && nodes_[next]->input[0] == conv.output.at(0))
      ++next;
    return next < nodes_.size() && nodes_[next]->operation == "BatchNormalization" && nodes_[next]->input.at(0) == conv.input.at(0);
  }

  // A convolution and the norm behind it, folded or not.
  void convolution(const std::string& name, const std::string& norm) {
    const OnnxNode& node = next("Conv", name);
    const at::Tensor weight = tensor(node, 1);
    add(name + ".weight", weight);
    const at::Tensor bias = has(node, 2) ? tensor(node, 2) : at::zeros({weight.size(0)});
    if (operation() == "BatchNormalization" && input() == node.output.at(0)) batch_norm(norm, bias);
    else no_norm(norm, bias);
  }

  // `before` is a bias that the convolution in front of it adds.
  void batch_norm(const std::string& name, const at::Tensor& before = {}) {
    const OnnxNode& node = next("BatchNormalization", name);
    const at::Tensor scale = tensor(node, 1);
    const auto epsilon = node.numbers.find("epsilon");
    const double difference = (epsilon == node.numbers.end() ? kEpsilon : epsilon->second) - kEpsilon;
    add(name + ".weight", scale);
    add(name + ".bias", tensor(node, 2));
    add(name + ".running_mean", before.defined() && before.count_nonzero().item<std::int64_t>() > 0 ? tensor(node, 3) - before : tensor(node, 3));
    add(name + ".running_var", std::abs(difference) > 1e-9 ? tensor(node, 4) + difference : tensor(node, 4));
  }

  void slopes(const std::string& name) {
    const at::Tensor values = tensor(next("PRelu", name), 1);
    add(name + ".weight", values.flatten());
  }

  // A fully connected layer as a product of either kind.
  void linear(const std::string& name, bool with_bias) {
    const std::string kind = operation();
    const OnnxNode& node = next(kind == "MatMul" ? "MatMul" : "Gemm", name);
    const auto turned = node.numbers.find("transB");
    const at::Tensor weight = tensor(node, 1);
    add(name + ".weight", kind == "MatMul" || turned == node.numbers.end() || turned->second == 0 ? weight.t().contiguous() : weight);
    bias_ = has(node, 2) ? tensor(node, 2) : at::zeros({result_.tensors.at(name + ".weight").shape[0]});
    if (with_bias) add(name + ".bias", bias_);
  }

  // The norm of the features; where the export has folded it into the layer before, one that changes nothing. A bias that the layer before could not keep comes
  // first.
  void last_norm(const std::string& name, bool bias_is_kept) {
    if (operation() == "BatchNormalization") batch_norm(name, bias_is_kept ? at::Tensor() : bias_);
    else no_norm(name, bias_is_kept ? at::zeros_like(bias_) : bias_);
  }

  // Everything that was named "block.x" is `name`x.
  void rename_block(const std::string& name) {
    const std::string block = "block.";
    for (auto it = result_.tensors.lower_bound(block); it != result_.tensors.end() && it->first.starts_with(block); it = result_.tensors.lower_bound(block)) {
      auto entry = result_.tensors.extract(it);
      entry.key() = entry.mapped().name = name + entry.key().substr(block.size());
      result_.tensors.insert(std::move(entry));
    }
  }

  [[noreturn]] void fail(const std::string& expected) const {
    throw UserError(source_.path.string(), ": operation ", at_ + 1, " of those with weights is ", done() ? "missing" : "'" + nodes_[at_]->operation + "'", "; ",
                    expected, " was expected, as in arcface_torch's networks");
  }

  WeightSource result() {
    if (!done()) fail("the end");
    return std::move(result_);
  }

 private:
  const OnnxNode& next(const std::string& operation, const std::string& name) {
    if (done() || nodes_[at_]->operation != operation) fail("'" + operation + "' for " + name);
    return *nodes_[at_++];
  }

  std::string resolved(std::string name) const {
    for (int i = 0; i < 10; ++i)
      if (const auto it = same_.find(name); it != same_.end()) name = it->second;
    return name;
  }

  bool has(const OnnxNode& node, std::size_t input) const {
    if (node.input.size() <= input) return false;
    const std::string name = resolved(node.input[input]);
    const auto turned = turned_.find(name);
    return onnx_.contains(turned == turned_.end() ? name : resolved(turned->second));
  }

  at::Tensor tensor(const OnnxNode& node, std::size_t input) const {
    if (!has(node, input)) throw UserError(source_.path.string(), ": a '", node.operation, "' has no weights in the file where input ", input, " was expected");
    std::string name = resolved(node.input[input]);
    const auto turned = turned_.find(name);
    at::Tensor values = onnx_.at(turned == turned_.end() ? name : resolved(turned->second));
    if (turned != turned_.end()) values = values.t().contiguous();
    if (values.dim() == 0) throw UserError(source_.path.string(), ": a '", node.operation, "' has a single number where weights were expected");
    return values;
  }

  void no_norm(const std::string& name, const at::Tensor& bias) {
    // With the variance so that variance + eps is 1: scale 1 to 6e-8.
    add(name + ".weight", at::full(bias.sizes(), 1.0));
    add(name + ".bias", bias);
    add(name + ".running_mean", at::zeros(bias.sizes()));
    add(name + ".running_var", at::full(bias.sizes(), 1.0 - kEpsilon));
  }

  void add(const std::string& name, const at::Tensor& values) {
    result_.tensors[name] = SourceTensor{values.scalar_type(), values.sizes().vec(), [values] { return values; }, name};
  }

  const WeightSource& source_;
  const storage::OnnxFile& onnx_;
  std::vector<const OnnxNode*> nodes_;
  std::map<std::string, std::string> same_, turned_;  // names that stand for others, and for their transposes
  std::size_t at_ = 0;
  at::Tensor bias_;
  WeightSource result_;
};

void name_iresnet(FaceGraph& graph) {
  graph.convolution("conv1", "bn1");
  graph.slopes("prelu");
  int layer = 0, index = 0;
  while (graph.shortcut_first() || (graph.operation() == "BatchNormalization" && graph.operation(1) == "Conv")) {
    // A layer begins with a block that has a shortcut of its own, which an export computes first or last: names wait until it is known.
    const std::string input = graph.input();
    const std::string name = "block";
    bool shortcut = graph.shortcut_first();
    const auto take_shortcut = [&] { graph.convolution(name + ".downsample.0", name + ".downsample.1"); };
    if (shortcut) take_shortcut();
    graph.batch_norm(name + ".bn1");
    graph.convolution(name + ".conv1", name + ".bn2");
    graph.slopes(name + ".prelu");
    graph.convolution(name + ".conv2", name + ".bn3");
    if (!shortcut && graph.operation() == "Conv" && graph.input() == input) {
      shortcut = true;
      take_shortcut();
    }
    if (shortcut) ++layer, index = 0;
    graph.rename_block(base::concat("layer", layer, ".", index++, "."));
  }
  graph.batch_norm("bn2");
  graph.linear("fc", true);
  graph.last_norm("features", true);
}

// insightface's names: models/vision/mobilefacenet.cpp.
void name_mobilefacenet(FaceGraph& graph) {
  const bool large = graph.count("Conv") > 60;
  const auto unit = [&](const std::string& name, bool linear) {
    graph.convolution(name + ".layers.0", name + ".layers.1");
    if (!linear) graph.slopes(name + ".layers.2");
  };
  const auto bottleneck = [&](const std::string& name) {
    unit(name + ".layers.0", false);
    unit(name + ".layers.1", false);
    unit(name + ".layers.2", true);
  };
  const auto residuals = [&](const std::string& name, int count) {
    for (int i = 0; i < count; ++i) bottleneck(base::concat(name, ".layers.", i));
  };
  const std::array<int, 4> counts = large ? std::array{2, 8, 12, 4} : std::array{0, 4, 6, 2};
  unit("layers.0", false);
  if (large) residuals("layers.1", counts[0]);
  else unit("layers.1", false);
  bottleneck("layers.2");
  residuals("layers.3", counts[1]);
  bottleneck("layers.4");
  residuals("layers.5", counts[2]);
  bottleneck("layers.6");
  residuals("layers.7", counts[3]);
  unit("conv_sep", false);
  unit("features.layers.0", true);
  graph.linear("features.layers.2", false);
  graph.last_norm("features.layers.3", false);
}

}  // namespace

WeightSource named_face_tensors(const WeightSource& source) try {
  FaceGraph graph(source);
  if (graph.has_norms_first()) name_iresnet(graph);
  else name_mobilefacenet(graph);
  WeightSource result = graph.result();
  result.notes.emplace_back("norms that the export had folded into convolutions are written as norms that change nothing");
  return result;
} catch (const c10::Error& error) {
  // What LibTorch says of shapes that do not go together.
  throw UserError(source.path.string(), ": its weights do not fit its operations: ", error.what_without_backtrace());
}

}  // namespace magicid::imports
