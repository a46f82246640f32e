// A plan for readers and for programs.

#include <cmath>
#include <cstdio>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/errors.h"
#include "planning/plan.h"

namespace magicid::planning {
namespace {

using models::generator::BackboneCost;
using models::generator::Flops;
using models::generator::TokenCounts;

std::string rounded(double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f %s" : "%.1f %s", value, unit);
  return text;
}

std::string scaled(double value, const char* const (&units)[6]) {
  std::size_t i = 0;
  while (value >= 1000 && i + 1 < std::size(units)) value /= 1000, ++i;
  return rounded(value, units[i]);
}

double gpu_seconds(const Plan& plan) {
  double sum = 0;
  for (const auto& phase : plan.phases) sum += phase.seconds * phase.gpus;
  return sum;
}

}  // namespace

std::string bytes_text(double bytes) { return scaled(bytes, {"B", "kB", "MB", "GB", "TB", "PB"}); }
std::string flops_text(double flops) { return scaled(flops / 1e6, {"MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"}); }

std::string time_text(double seconds) {
  if (seconds < 60) return rounded(seconds, "s");
  if (seconds < 3600) return rounded(seconds / 60, "min");
  return seconds < 72 * 3600 ? rounded(seconds / 3600, "h") : rounded(seconds / 86400, "days");
}

std::string to_table(const Plan& plan, const Networks& networks, const Workload& w, const Cluster& c, const Efficiencies& e) {
  std::ostringstream out;
  const BackboneCost& backbone = *networks.backbone;
  const TokenCounts tokens = backbone.tokens_of(w.video, w.text_tokens);
  const Flops forward = backbone.forward_flops(backbone.largest_share(tokens, 1), nullptr);
  const RankLayout& l = plan.layout;
  out << "model     " << networks.source << ": " << rounded(static_cast<double>(backbone.parameters()) / 1e9, "billion parameters") << ", adapter "
      << rounded(static_cast<double>(backbone.adapter_parameters(w.adapter)) / 1e6, "million") << " in " << backbone.adapted_modules(w.adapter) << " modules\n"
      << "video     " << w.video.frames << " frames of " << w.video.height << " x " << w.video.width << ": " << tokens.video << " video tokens and up to "
      << tokens.text << " of text; a forward is " << flops_text(forward.total()) << " (" << flops_text(forward.linear) << " linear, "
      << flops_text(forward.attention) << " attention)\n"
      << "devices   " << c.nodes << " x " << c.gpus << " " << c.device.name << ": " << rounded(c.device.peak_flops / 1e12, "TFLOP/s") << ", "
      << bytes_text(c.device.memory_bytes) << ", " << c.device.link << " " << bytes_text(c.device.link_bandwidth) << "/s, network "
      << bytes_text(c.network_bandwidth) << "/s for each GPU\n"
      << "assumed   efficiency " << e.training << " in training, " << e.generation << " in generation, " << e.autoencoder << " in the autoencoder, "
      << e.rewards << " in rewards, " << e.link << " of links, " << e.network << " of the network; " << bytes_text(c.reserve) << " for context and libraries, "
      << 100 * c.slack << "% slack\n\n"
      << "layout    mesh.pair=" << l.pair << " mesh.sequence=" << l.sequence << " model.recompute=" << l.recompute.text() << "  (" << l.replica
      << (l.replica == 1 ? " replica)" : " replicas)") << "\n";
  for (const auto& reason : plan.reasons) out << "  - " << reason << "\n";
  for (const auto& advice : plan.advice) out << "  ! " << advice << "\n";

  std::size_t width = 0;
  for (const auto& phase : plan.phases) width = std::max(width, phase.work.size());
  out << "\n"
      << std::left << std::setw(13) << "stage" << std::setw(static_cast<int>(width) + 2) << "work" << std::right << std::setw(5) << "GPUs" << std::setw(14)
      << "operations" << std::setw(12) << "sent a GPU" << std::setw(11) << "time" << std::setw(14) << "memory a GPU" << "\n";
  double flops = 0;
  for (const auto& phase : plan.phases) {
    flops += phase.flops;
    out << std::left << std::setw(13) << phase.name << std::setw(static_cast<int>(width) + 2) << phase.work << std::right << std::setw(5) << phase.gpus
        << std::setw(14) << flops_text(phase.flops) << std::setw(12) << bytes_text(phase.sent_bytes) << std::setw(11) << time_text(phase.seconds)
        << std::setw(14) << bytes_text(phase.memory_total()) << "\n";
  }
  out << std::left << std::setw(13) << "all" << std::setw(static_cast<int>(width) + 7) << "" << std::right << std::setw(14) << flops_text(flops)
      << std::setw(12) << "" << std::setw(11) << time_text(plan.seconds()) << "   (" << rounded(gpu_seconds(plan) / 3600, "GPU hours") << ")\n";
  out << "\nmemory of one GPU\n";
  for (const auto& phase : plan.phases) {
    out << "  " << std::left << std::setw(13) << phase.name << bytes_text(phase.memory_total()) << " of " << bytes_text(c.device.memory_bytes) << "\n";
    for (const auto& kind : phase.memory)
      if (kind.bytes > 0) out << "    " << std::right << std::setw(9) << bytes_text(kind.bytes) << "  " << kind.name << "\n";
  }
  return out.str();
}

nlohmann::json to_json(const Plan& plan, const Networks& networks, const Workload& w, const Cluster& c, const Efficiencies& e) {
  using nlohmann::json;
  const BackboneCost& backbone = *networks.backbone;
  const TokenCounts tokens = backbone.tokens_of(w.video, w.text_tokens);
  const Flops forward = backbone.forward_flops(backbone.largest_share(tokens, 1), nullptr);
  json phases = json::array();
  for (const auto& phase : plan.phases) {
    json memory = json::object();
    for (const auto& kind : phase.memory) memory[kind.name] = kind.bytes;
    phases.push_back({{"stage", phase.name},
                      {"work", phase.work},
                      {"gpus", phase.gpus},
                      {"flops", phase.flops},
                      {"seconds", phase.seconds},
                      {"sent_bytes", phase.sent_bytes},
                      {"memory_bytes", phase.memory_total()},
                      {"memory", memory}});
  }
  const RankLayout& l = plan.layout;
  return {{"model",
           {{"source", networks.source},
            {"parameters", backbone.parameters()},
            {"adapter_parameters", backbone.adapter_parameters(w.adapter)},
            {"adapter_modules", backbone.adapted_modules(w.adapter)}}},
          {"video",
           {{"frames", w.video.frames},
            {"height", w.video.height},
            {"width", w.video.width},
            {"tokens", tokens.video},
            {"text_tokens", tokens.text},
            {"forward_flops", {{"linear", forward.linear}, {"attention", forward.attention}}}}},
          {"devices",
           {{"nodes", c.nodes},
            {"gpus", c.gpus},
            {"name", c.device.name},
            {"peak_flops", c.device.peak_flops},
            {"memory_bytes", c.device.memory_bytes},
            {"link_bandwidth", c.device.link_bandwidth},
            {"network_bandwidth", c.network_bandwidth}}},
          {"assumed",
           {{"training", e.training},
            {"generation", e.generation},
            {"autoencoder", e.autoencoder},
            {"rewards", e.rewards},
            {"link", e.link},
            {"network", e.network},
            {"reserve_bytes", c.reserve},
            {"slack", c.slack}}},
          {"layout", {{"replica", l.replica}, {"pair", l.pair}, {"sequence", l.sequence}, {"recompute", l.recompute.text()}}},
          {"reasons", plan.reasons},
          {"advice", plan.advice},
          {"phases", phases},
          {"seconds", plan.seconds()},
          {"gpu_seconds", gpu_seconds(plan)},
          {"memory_bytes", plan.memory()}};
}

}  // namespace magicid::planning
