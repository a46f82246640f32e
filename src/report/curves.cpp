// Curves over training steps.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/errors.h"
#include "report/plot.h"

namespace magicid::report {
namespace {

constexpr double width = 420, height = 250, left = 58, right = 12, top = 12, bottom = 46;
constexpr std::size_t columns = 300;

struct Point {
  double step, value;
};

// At most two points for each of `columns` equal ranges of indices, the lowest and the highest in their order: spikes survive.
std::vector<std::vector<Point>> thinned(const std::vector<double>& steps, const std::vector<double>& values) {
  std::vector<std::vector<Point>> runs(1);
  const std::size_t count = values.size(), parts = std::min(columns, count);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = part * count / parts, end = (part + 1) * count / parts;
    std::size_t lowest = end, highest = end;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(values[i])) continue;
      if (lowest == end || values[i] < values[lowest]) lowest = i;
      if (highest == end || values[i] > values[highest]) highest = i;
    }
    if (lowest == end) {
      if (!runs.back().empty()) runs.emplace_back();
      continue;
    }
    runs.back().push_back({steps[std::min(lowest, highest)], values[std::min(lowest, highest)]});
    if (lowest != highest) runs.back().push_back({steps[std::max(lowest, highest)], values[std::max(lowest, highest)]});
  }
  return runs;
}

std::string_view css_class(Ink ink) {
  switch (ink) {
    case Ink::winner: return "winner";
    case Ink::loser: return "loser";
    case Ink::plain: return "plain";
    case Ink::second: return "second";
  }
  throw base::InvariantError("report: an unknown ink");
}

// For the script, which turns places in the drawing back into values.
Html exact(double value) {
  std::array<char, 40> buffer;
  return Html::trusted({buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr});
}

// Ends of the y axis: all of the strong lines and the level, and 98% of the faint ones.
std::pair<double, double> range_of(const CurveChart& chart, const std::vector<std::vector<double>>& strong, std::size_t& beyond) {
  std::vector<double> all;
  double low = INFINITY, high = -INFINITY;
  const auto include = [&](double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  };
  for (const auto& line : strong) std::for_each(line.begin(), line.end(), include);
  if (chart.level) include(*chart.level);
  for (const Curve& curve : chart.curves) {
    std::copy_if(curve.values.begin(), curve.values.end(), std::back_inserter(all), [](double value) { return std::isfinite(value); });
  }
  std::sort(all.begin(), all.end());
  if (!all.empty()) {
    const auto at = [&](double q) { return all[static_cast<std::size_t>(std::llround(q * static_cast<double>(all.size() - 1)))]; };
    include(at(0.01));
    include(at(0.99));
  }
  if (low > high) return {0, 1};
  if (low == high) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  } else {
    const double room = (high - low) * 0.06;
    low -= room;
    high += room;
  }
  low = chart.low.value_or(low);
  high = std::max(chart.high.value_or(high), low + 1e-12);
  beyond = static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](double value) { return value < low || value > high; }));
  return {low, high};
}

}  // namespace

Html draw(const CurveChart& chart) {
  const std::size_t count = chart.steps.size();
  base::check_invariant(count > 0, "report: the chart '", chart.title, "' has no steps");
  const double window = static_cast<double>(count) / 25;
  const bool smooth = count >= 40;
  std::vector<std::vector<double>> strong;
  for (const Curve& curve : chart.curves) {
    base::check_invariant(curve.values.size() == count, "report: curve '", curve.label, "' has ", curve.values.size(), " values for ", count, " steps");
    strong.push_back(smooth && curve.smooth ? smoothed(curve.values, window) : curve.values);
  }
  std::size_t beyond = 0;
  const auto [low, high] = range_of(chart, strong, beyond);
  const Ticks y_ticks = nice_ticks(low, high, 5);
  const Ticks x_ticks = nice_ticks(chart.steps.front(), std::max(chart.steps.back(), chart.steps.front()), 5);
  const auto at_x = [&](double v) { return left + (v - x_ticks.low) / (x_ticks.high - x_ticks.low) * (width - left - right); };
  // Values far beyond the axis are cut by the browser; clamped first, so that coordinates stay small.
  const auto at_y = [&](double v) {
    return std::clamp(height - bottom - (v - y_ticks.low) / (y_ticks.high - y_ticks.low) * (height - top - bottom), -height, 2 * height);
  };

  Html out;
  out << "<figure class=\"chart\"><figcaption><h4>" << text(chart.title) << "</h4>";
  if (chart.curves.size() > 1) {
    out << "<ul class=\"legend\">";
    for (const Curve& curve : chart.curves) {
      out << "<li><svg class=\"key\" viewBox=\"0 0 24 10\" width=\"24\" height=\"10\" aria-hidden=\"true\"><path class=\"line " << text(css_class(curve.ink))
          << (curve.dashed ? Html(" dashed") : Html("")) << "\" d=\"M1 5H23\" /></svg>" << text(curve.label) << "</li>";
    }
    out << "</ul>";
  }
  std::string description = chart.title + " over " + std::to_string(count) + " recorded steps.";
  for (std::size_t i = 0; i < strong.size(); ++i) {
    const auto last = std::find_if(strong[i].rbegin(), strong[i].rend(), [](double value) { return std::isfinite(value); });
    const auto first = std::find_if(strong[i].begin(), strong[i].end(), [](double value) { return std::isfinite(value); });
    if (last == strong[i].rend()) continue;
    description += " " + chart.curves[i].label + ": from " + format_number(*first) + " to " + format_number(*last) + ".";
  }
  out << "</figcaption><svg class=\"plot curves\" viewBox=\"0 0 420 250\" role=\"img\" aria-label=\"" << text(description) << "\" data-box=\""
      << coordinate(left) << " " << coordinate(top) << " " << coordinate(width - right) << " " << coordinate(height - bottom) << "\" data-range=\""
      << exact(x_ticks.low) << " " << exact(x_ticks.high) << " " << exact(y_ticks.low) << " " << exact(y_ticks.high) << "\">";
  for (std::size_t i = 0; i < y_ticks.values.size(); ++i) {
    const Html y = coordinate(at_y(y_ticks.values[i]));
    out << "<path class=\"grid\" d=\"M" << coordinate(left) << " " << y << "H" << coordinate(width - right) << "\" /><text class=\"tick\" x=\""
        << coordinate(left - 7) << "\" y=\"" << y << "\" dy=\"0.35em\" text-anchor=\"end\">" << text(y_ticks.labels[i]) << "</text>";
  }
  for (std::size_t i = 0; i < x_ticks.values.size(); ++i) {
    const double x = at_x(x_ticks.values[i]);
    out << "<path class=\"grid\" d=\"M" << coordinate(x) << " " << coordinate(height - bottom) << "v5\" /><text class=\"tick\" x=\""
        << coordinate(std::min(x, width - 16)) << "\" y=\"" << coordinate(height - bottom + 19) << "\" text-anchor=\"middle\">" << text(x_ticks.labels[i])
        << "</text>";
  }
  out << "<text class=\"axis\" x=\"" << coordinate((left + width - right) / 2) << "\" y=\"" << coordinate(height - 6)
      << "\" text-anchor=\"middle\">step</text>";
  if (!chart.y_label.empty()) {
    out << "<text class=\"axis\" transform=\"translate(12 " << coordinate((top + height - bottom) / 2) << ") rotate(-90)\" text-anchor=\"middle\">"
        << text(chart.y_label) << "</text>";
  }
  // A nested drawing cuts what lies beyond the axes without needing an id.
  out << "<svg x=\"" << coordinate(left) << "\" y=\"" << coordinate(top) << "\" width=\"" << coordinate(width - left - right) << "\" height=\""
      << coordinate(height - top - bottom) << "\" viewBox=\"" << coordinate(left) << " " << coordinate(top) << " " << coordinate(width - left - right) << " "
      << coordinate(height - top - bottom) << "\">";
  if (chart.level)
    out << "<path class=\"level\" d=\"M" << coordinate(left) << " " << coordinate(at_y(*chart.level)) << "H" << coordinate(width - right) << "\" />";
  const auto polylines = [&](const Curve& curve, const std::vector<double>& values, const Html& kind, bool named) {
    for (const auto& run : thinned(chart.steps, values)) {
      if (run.empty()) continue;
      out << "<polyline class=\"" << kind << " " << text(css_class(curve.ink)) << (curve.dashed ? Html(" dashed") : Html("")) << "\"";
      if (named) out << " data-label=\"" << text(curve.label) << "\"";
      out << " points=\"";
      for (const Point& point : run) out << coordinate(at_x(point.step)) << "," << coordinate(at_y(point.value)) << " ";
      if (run.size() == 1) out << coordinate(at_x(run[0].step) + 1) << "," << coordinate(at_y(run[0].value));
      out << "\" />";
    }
  };
  for (std::size_t i = 0; i < strong.size(); ++i) {
    if (smooth && chart.curves[i].smooth) polylines(chart.curves[i], chart.curves[i].values, "raw", false);
  }
  for (std::size_t i = 0; i < strong.size(); ++i) polylines(chart.curves[i], strong[i], "line", true);
  out << "</svg>";
  if (chart.level) {
    // Above the line, or below where it would leave the drawing.
    const double y = at_y(*chart.level);
    out << "<text class=\"leveltext\" x=\"" << coordinate(width - right - 4) << "\" y=\"" << coordinate(y - 5 < top + 10 ? y + 14 : y - 5)
        << "\" text-anchor=\"end\">" << text(chart.level_label) << "</text>";
  }
  out << "</svg>";
  std::string note = chart.explanation;
  if (beyond > 0) note += (note.empty() ? "" : " ") + count_of(beyond, "single value lies", "single values lie") + " beyond the axis.";
  if (!note.empty()) out << "<p class=\"note\">" << text(note) << "</p>";
  return out << "</figure>";
}

}  // namespace magicid::report
