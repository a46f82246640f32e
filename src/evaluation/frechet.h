// Distance between two sets of videos, as FVD has it.
// Sources: Frechet inception distance (Heusel et al. 2017, arXiv:1706.08500) and FVD (Unterthiner et al. 2018, arXiv:1812.01717).
#pragma once

#include <ATen/core/Tensor.h>

namespace magicid::evaluation {

// |mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the Gaussians with the means and unbiased covariances of a [N,D] and b [M,D]; N, M >= 2. Computed in double
// on the CPU. With the centred sets X1, X2, divided by sqrt(N-1) and sqrt(M-1), the eigenvalues of S1 S2 are the squared singular values of X1 X2^T, so that Tr
// (S1 S2)^(1/2) is their sum: no square root of a product matrix, exact also for the singular covariances of fewer videos than features, where the usual matrix
// square root is not. At least 0. NaN where a feature is not finite. Throws InvariantError for other shapes.
//
// The value falls with the number of videos: compare sets of equal size only.
double frechet_distance(const at::Tensor& a, const at::Tensor& b);

}  // namespace magicid::evaluation
