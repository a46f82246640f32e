#include "report/plot.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace magicid::report {

Ticks nice_ticks(double low, double high, int wanted) {
  base::check_invariant(std::isfinite(low) && std::isfinite(high) && low <= high && wanted > 0, "report: an axis from ", low, " to ", high);
  if (low == high) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double rough = (high - low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  Ticks ticks{.low = low, .high = high};
  const double slack = step * 1e-9;
  const auto first = static_cast<std::int64_t>(std::ceil((low - slack) / step)), last = static_cast<std::int64_t>(std::floor((high + slack) / step));
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  for (std::int64_t i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    ticks.values.push_back(value);
    if (i == 0) {
      ticks.labels.push_back("0");
    } else if (step < 5e-4) {
      ticks.labels.push_back(format_number(value, 3));
    } else if (step >= 1000) {
      ticks.labels.push_back(format_fixed(value / 1000, 0) + "k");
    } else {
      ticks.labels.push_back(format_fixed(value, decimals));
    }
  }
  return ticks;
}

std::vector<double> smoothed(const std::vector<double>& values, double window) {
  const double keep = 1 - 2 / (std::max(1.0, window) + 1);
  std::vector<double> out(values.size(), std::nan(""));
  double average = 0, weight = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    average = keep * average + (1 - keep) * values[i];
    weight = keep * weight + (1 - keep);
    out[i] = average / weight;
  }
  return out;
}

namespace {

Html mark(Marker kind, double x, double y, double r) {
  Html out;
  switch (kind) {
    case Marker::circle: out << "<circle cx=\"" << coordinate(x) << "\" cy=\"" << coordinate(y) << "\" r=\"" << coordinate(r) << "\" />"; break;
    case Marker::square:
      out << "<rect x=\"" << coordinate(x - r * 0.9) << "\" y=\"" << coordinate(y - r * 0.9) << "\" width=\"" << coordinate(1.8 * r) << "\" height=\""
          << coordinate(1.8 * r) << "\" />";
      break;
    case Marker::triangle:
      out << "<path d=\"M" << coordinate(x) << " " << coordinate(y - 1.25 * r) << "L" << coordinate(x + 1.15 * r) << " " << coordinate(y + 0.8 * r) << "L"
          << coordinate(x - 1.15 * r) << " " << coordinate(y + 0.8 * r) << "Z\" />";
      break;
  }
  return out;
}

Html sign_class(bool hollow, bool outlined) { return hollow ? Html(" hollow") : outlined ? Html(" first") : Html(""); }

}  // namespace

Html legend_mark(Marker kind, int group, bool hollow, bool outlined) {
  Html out;
  out << "<svg class=\"key\" viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\"><g class=\"pt g" << group << sign_class(hollow, outlined)
      << "\">" << mark(kind, 8, 8, 5) << "</g></svg>";
  return out;
}

Html draw(const Scatter& scatter) {
  // The margins leave room for the larger letters of narrow windows.
  constexpr double width = 560, height = 460, left = 56, right = 12, top = 10, bottom = 58;
  const Ticks ticks = nice_ticks(scatter.low, scatter.high, 9);
  const double scale_x = (width - left - right) / (ticks.high - ticks.low), scale_y = (height - top - bottom) / (ticks.high - ticks.low);
  const auto at_x = [&](double v) { return left + (std::clamp(v, ticks.low, ticks.high) - ticks.low) * scale_x; };
  const auto at_y = [&](double v) { return height - bottom - (std::clamp(v, ticks.low, ticks.high) - ticks.low) * scale_y; };
  Html out;
  out << "<svg class=\"plot scatter\" viewBox=\"0 0 560 460\" role=\"group\" aria-label=\"" << text(scatter.description) << "\">";
  for (std::size_t i = 0; i < ticks.values.size(); ++i) {
    const Html x = coordinate(at_x(ticks.values[i])), y = coordinate(at_y(ticks.values[i]));
    out << "<path class=\"grid\" d=\"M" << x << " " << coordinate(top) << "V" << coordinate(height - bottom) << "M" << coordinate(left) << " " << y << "H"
        << coordinate(width - right) << "\" />"
        << "<text class=\"tick\" x=\"" << x << "\" y=\"" << coordinate(height - bottom + 20) << "\" text-anchor=\"middle\">" << text(ticks.labels[i])
        << "</text>"
        << "<text class=\"tick\" x=\"" << coordinate(left - 8) << "\" y=\"" << y << "\" dy=\"0.35em\" text-anchor=\"end\">" << text(ticks.labels[i])
        << "</text>";
  }
  out << "<text class=\"axis\" x=\"" << coordinate((left + width - right) / 2) << "\" y=\"" << coordinate(height - 10) << "\" text-anchor=\"middle\">"
      << text(scatter.x_label) << "</text>"
      << "<text class=\"axis\" transform=\"translate(16 " << coordinate((top + height - bottom) / 2) << ") rotate(-90)\" text-anchor=\"middle\">"
      << text(scatter.y_label) << "</text>";
  for (const ScatterLine& line : scatter.lines) {
    if (line.points.size() < 2) continue;
    out << "<polyline class=\"front" << (line.dashed ? Html(" dashed") : Html("")) << "\" points=\"";
    for (const auto& [x, y] : line.points) out << coordinate(at_x(x)) << "," << coordinate(at_y(y)) << " ";
    out << "\"><title>" << text(line.label) << "</title></polyline>";
  }
  for (const ScatterPoint& point : scatter.points) {
    // Out of the tab order: the list below holds the same candidates.
    out << "<a href=\"#" << text(point.target) << "\" tabindex=\"-1\" class=\"pt g" << point.group << sign_class(point.hollow, point.outlined) << "\">"
        << mark(point.mark, at_x(point.x), at_y(point.y), 4.6) << "<title>" << text(point.tip) << "</title></a>";
  }
  return out << "</svg>";
}

Html draw_intervals(const std::string& description, const std::vector<IntervalRow>& rows) {
  double low = INFINITY, high = -INFINITY;
  for (const IntervalRow& row : rows) {
    for (const double value : {row.mean, row.low, row.high}) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (low > high) return {};
  const double room = low == high ? std::max(std::abs(low) * 0.1, 1e-3) : (high - low) * 0.08;
  const Ticks ticks = nice_ticks(low - room, high + room, 4);
  constexpr double width = 360, left = 8, right = 8, row_height = 26;
  const double height = row_height * static_cast<double>(rows.size()) + 30;
  const auto at = [&](double v) { return left + (v - ticks.low) / (ticks.high - ticks.low) * (width - left - right); };
  Html out;
  out << "<svg class=\"plot intervals\" viewBox=\"0 0 360 " << coordinate(height) << "\" role=\"img\" aria-label=\"" << text(description) << "\">";
  for (std::size_t i = 0; i < ticks.values.size(); ++i) {
    const double x = at(ticks.values[i]);
    out << "<path class=\"grid\" d=\"M" << coordinate(x) << " 2V" << coordinate(height - 26) << "\" />";
    // Labels at the very ends would be cut.
    if (x > 16 && x < width - 16)
      out << "<text class=\"tick\" x=\"" << coordinate(x) << "\" y=\"" << coordinate(height - 8) << "\" text-anchor=\"middle\">" << text(ticks.labels[i])
          << "</text>";
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const IntervalRow& row = rows[i];
    if (!std::isfinite(row.mean)) continue;
    const double y = row_height * (static_cast<double>(i) + 0.5) + 2;
    out << "<g class=\"arm a" << row.group << "\">";
    if (std::isfinite(row.low) && std::isfinite(row.high))
      out << "<path class=\"whisker\" d=\"M" << coordinate(at(row.low)) << " " << coordinate(y) << "H" << coordinate(at(row.high)) << "\" />";
    out << "<circle cx=\"" << coordinate(at(row.mean)) << "\" cy=\"" << coordinate(y) << "\" r=\"6\" /></g>";
  }
  return out << "</svg>";
}

}  // namespace magicid::report
