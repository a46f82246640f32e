// Reading adapter files; writing is in adapter_files.cpp.

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <optional>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "models/hunyuan_video/adapter_files.h"
#include "models/hunyuan_video/adapter_names.h"
#include "models/hunyuan_video/adapter_source.h"
#include "storage/hdf5.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;

// One low-rank product: of a whole module, or of the rows that diffusers holds as a module.
struct Product {
  at::Tensor a, b;
  std::optional<double> alpha;
  std::string key;     // of the file, for messages
  std::string module;  // the file's own name
  double scale = 1;
};

std::string sizes_text(const at::Tensor& t) {
  std::ostringstream out;
  out << t.sizes();
  return out.str();
}

at::Tensor wide(const at::Tensor& t) { return t.to(t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat); }

class Reader {
 public:
  Reader(const TransformerConfig& config, const storage::SafetensorsFile& file)
      : origin_(file.path().string()), linears_(block_linears(config)), peft_(peft_config_of(file, warnings_)) {
    const auto slots = adapter_slots(linears_);
    std::vector<std::string> left_out;
    for (const auto& key : file.names()) {
      if (is_text_encoder_key(key)) left_out.push_back(key);
      else place(key, file.at(key), slots);
    }
    if (products_.empty() && problems_.empty())
      throw UserError(origin_, left_out.empty() ? ": holds no tensors; expected a LoRA of this transformer"
                                                : ": holds a LoRA of text encoders alone; expected one of this transformer");
    if (!left_out.empty())
      warnings_.push_back(base::concat(origin_, ": ", left_out.size(), left_out.size() == 1 ? " key" : " keys",
                                       " of text encoders are left out, which this program does not adapt: ", base::join_names(left_out, 3)));
  }

  const std::vector<std::string>& warnings() const { return warnings_; }
  // In words, several joined by "and".
  std::string layout() const {
    std::string text;
    for (const KeyLayout layout : layouts_) text += (text.empty() ? "" : " and ") + layout_text(layout);
    return text;
  }

  std::map<std::string, generator::AdapterValues> values() {
    std::map<std::string, generator::AdapterValues> values;
    for (auto& [linear, products] : products_) {
      const BlockLinear& module = linears_[linear];
      const std::size_t before = problems_.size();
      for (auto& [part, product] : products) finish(product, module.in, part < 0 ? module.out : module.parts[static_cast<std::size_t>(part)].rows);
      if (products.size() > 1 && products.contains(-1)) problems_.push_back(products.at(-1).key + ": the file holds this module both whole and in parts");
      if (problems_.size() == before) values[module.name] = fuse(module, products);
    }
    if (!problems_.empty()) {
      std::ostringstream text;
      text << origin_ << ": " << problems_.size() << (problems_.size() == 1 ? " key" : " keys")
           << " that this transformer's double and single blocks cannot take as LoRA:";
      for (const auto& problem : problems_) text << "\n  " << problem;
      throw UserError(text.str());
    }
    return values;
  }

 private:
  void place(const std::string& key, const at::Tensor& tensor, const std::map<std::string, AdapterSlot>& slots) {
    std::string reason;
    const auto parsed = parse_adapter_key(key, reason);
    if (!parsed) {
      problems_.push_back(key + ": " + reason);
      return;
    }
    const auto slot = slots.find(parsed->module);
    if (slot == slots.end()) {
      // Of a file for another model, every key is unknown, and the nearest name costs time.
      std::string hint;
      if (++unknown_ <= 5) {
        std::vector<std::string> known;
        for (const auto& [name, place] : slots) known.push_back(name);
        hint = base::did_you_mean(parsed->module, known);
      }
      problems_.push_back(key + ": no Linear of the double or single blocks has this name" + hint);
      return;
    }
    layouts_.insert(parsed->layout);
    Product& product = products_[slot->second.linear][slot->second.part];
    if (product.key.empty()) product.key = key, product.module = parsed->module;
    if (product.module != parsed->module) {
      problems_.push_back(key + ": the module is already there as " + product.module);
      return;
    }
    if (parsed->factor == Factor::alpha) {
      if (product.alpha || tensor.numel() != 1 || !std::isfinite(tensor.item<double>())) problems_.push_back(key + ": expected one finite number, once");
      else product.alpha = tensor.item<double>();
      return;
    }
    at::Tensor& factor = parsed->factor == Factor::a ? product.a : product.b;
    if (factor.defined()) problems_.push_back(key + ": given twice under different prefixes");
    else if (!tensor.is_floating_point()) problems_.push_back(key + ": not of a floating-point type");
    else factor = tensor;
  }

  // Checks the shapes and finds the product's scale.
  void finish(Product& product, std::int64_t in, std::int64_t out) {
    const auto problem = [&](const std::string& text) { problems_.push_back(product.module + ": " + text); };
    if (!product.a.defined() || !product.b.defined()) {
      problem(product.a.defined() ? "lora_B (lora_up) is missing" : product.b.defined() ? "lora_A (lora_down) is missing" : "an alpha without factors");
      return;
    }
    if (product.a.dim() != 2 || product.a.size(0) < 1 || product.a.size(1) != in) {
      problem("A has shape " + sizes_text(product.a) + "; expected [rank, " + std::to_string(in) + "]");
      return;
    }
    const std::int64_t rank = product.a.size(0);
    if (product.b.dim() != 2 || product.b.size(0) != out || product.b.size(1) != rank) {
      problem("B has shape " + sizes_text(product.b) + "; expected [" + std::to_string(out) + ", " + std::to_string(rank) + "]");
      return;
    }
    double alpha = static_cast<double>(rank);
    if (product.alpha) {
      if (peft_.given()) problem("has an alpha of its own beside " + peft_.where() + "; which holds is not clear");
      alpha = *product.alpha;
    } else if (const auto value = peft_.alpha(product.module)) {
      const auto stated = peft_.rank(product.module);
      if (stated && *stated != static_cast<double>(rank))
        problem("has rank " + std::to_string(rank) + ", but " + peft_.where() + " says " + base::concat(*stated));
      alpha = *value;
    }
    const double divisor = !product.alpha && peft_.rank_stabilised() ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank);
    product.alpha = alpha * (static_cast<double>(rank) / divisor);
    product.scale = *product.alpha / static_cast<double>(rank);
  }

  static generator::AdapterValues fuse(const BlockLinear& module, const std::map<int, Product>& products) {
    if (products.begin()->first < 0) {
      const Product& whole = products.begin()->second;
      return {whole.a, whole.b, *whole.alpha};
    }
    // Equal A are one, so that our own split files come back at the rank they had.
    std::vector<at::Tensor> distinct;
    std::map<int, std::size_t> group;
    bool one_scale = true;
    const Product& first = products.begin()->second;
    for (const auto& [part, product] : products) {
      std::size_t g = 0;
      while (g < distinct.size() && !(distinct[g].sizes() == product.a.sizes() && at::equal(distinct[g], wide(product.a)))) ++g;
      if (g == distinct.size()) distinct.push_back(wide(product.a));
      group[part] = g;
      one_scale = one_scale && product.scale == first.scale;
    }
    const at::Tensor a = at::cat(distinct, 0);
    const std::int64_t rank = a.size(0);
    at::Tensor b = at::zeros({module.out, rank}, wide(first.b).options());
    std::int64_t row = 0;
    for (std::size_t p = 0; p < module.parts.size(); ++p) {
      const auto found = products.find(static_cast<int>(p));
      if (found != products.end()) {
        const Product& product = found->second;
        std::int64_t column = 0;
        for (std::size_t g = 0; g < group.at(found->first); ++g) column += distinct[g].size(0);
        const at::Tensor rows = wide(product.b);
        b.narrow(0, row, module.parts[p].rows).narrow(1, column, rows.size(1)).copy_(one_scale ? rows : rows.mul(product.scale));
      }
      row += module.parts[p].rows;
    }
    if (!one_scale) return {a, b, static_cast<double>(rank)};
    return {a, b, rank == first.a.size(0) ? *first.alpha : first.scale * static_cast<double>(rank)};
  }

  std::string origin_;
  std::vector<BlockLinear> linears_;
  std::vector<std::string> warnings_;
  std::set<KeyLayout> layouts_;
  PeftConfig peft_;
  std::map<std::size_t, std::map<int, Product>> products_;
  std::vector<std::string> problems_;
  int unknown_ = 0;
};

}  // namespace

namespace {

generator::LoadedAdapter read_native(const std::optional<TransformerConfig>& config, const std::filesystem::path& file, const nn::Placement& placement) {
  const auto tensors = storage::Hdf5File::open(file, {"magicid.adapter", 1}).tensors("adapter");
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  for (const auto& [name, tensor] : tensors) shapes.emplace_back(name, tensor.sizes().vec());
  const auto network = adaptable(config ? *config : sizes_of_adapter(shapes, file.string()));
  return {generator::Adapter::from_named_tensors(network, tensors, file.string(), placement), file, "native", {}, {}};
}

generator::LoadedAdapter read(const std::optional<TransformerConfig>& config, const std::filesystem::path& path, const nn::Placement& placement) {
  if (path.extension() == ".h5") return read_native(config, path, placement);
  const auto file = storage::SafetensorsFile::open(adapter_file_of(path));
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  for (const auto& name : file.names()) shapes.emplace_back(name, file.shape(name));
  const TransformerConfig sizes = config ? *config : sizes_of_adapter(shapes, file.path().string());
  Reader reader(sizes, file);
  auto adapter = generator::Adapter::from_values(adaptable(sizes), reader.values(), file.path().string(), placement);
  return {std::move(adapter), file.path(), reader.layout(), reader.warnings(), file.metadata()};
}

}  // namespace

generator::LoadedAdapter read_adapter_file(const TransformerConfig& config, const std::filesystem::path& path, const nn::Placement& placement) {
  return read(config, path, placement);
}

generator::LoadedAdapter read_adapter_file(const std::filesystem::path& path) { return read(std::nullopt, path, {}); }

generator::Adapter load_adapter(const TransformerConfig& config, const std::filesystem::path& path, const nn::Placement& placement) {
  return generator::take_adapter(read_adapter_file(config, path, placement));
}

}  // namespace magicid::models::hunyuan_video
