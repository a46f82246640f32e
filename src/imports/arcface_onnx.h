// Face embedders in ONNX: insightface's model packs (glintr100, w600k_r50, w600k_mbf).
#pragma once

#include "models/nn/weight_source.h"

namespace magicid::imports {

// The tensors under the names of arcface_torch, found by the order of the graph's operations, since an export gives numbers for names and folds the norm behind
// a convolution into it. A folded norm comes out as one that changes nothing, with the convolution's bias as its shift. Throws UserError that names the
// operation where the graph is another one than an IResNet's or MobileFaceNet's.
models::nn::WeightSource named_face_tensors(const models::nn::WeightSource& source);

}  // namespace magicid::imports
