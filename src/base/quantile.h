// Quantiles of samples.
#pragma once

#include <vector>

namespace magicid::base {

// The q-quantile, q in 0..1, linear between order statistics (numpy.quantile's default). Throws InvariantError for an empty list, NaN or q
// outside 0..1.
double quantile(std::vector<double> values, double q);

}  // namespace magicid::base
