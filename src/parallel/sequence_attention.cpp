#include "parallel/sequence_attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <numeric>

#include "base/errors.h"

namespace magicid::parallel {
namespace {

using models::generator::AttentionTape;
using models::generator::slice_of;
using models::generator::TokenCounts;
using models::generator::TokenRange;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Saved : torch::CustomClassHolder {
  explicit Saved(HeadExchange e) : exchange(std::move(e)) {}
  HeadExchange exchange;
};

void keep(AutogradContext* ctx, const HeadExchange& exchange) { ctx->saved_data["exchange"] = at::IValue::make_capsule(c10::make_intrusive<Saved>(exchange)); }

const HeadExchange& kept(const c10::intrusive_ptr<torch::CustomClassHolder>& holder) { return static_cast<const Saved&>(*holder).exchange; }

// Rows of K numbers that pass between this rank and each other one: with the counts of tokens here and heads there, and the reverse.
struct Counts {
  std::vector<std::int64_t> own_tokens, own_heads;
};

Counts counts_of(const HeadExchange& exchange, std::int64_t batch, std::int64_t parts) {
  Counts counts;
  const int me = exchange.group->rank(), size = exchange.group->size();
  const std::int64_t my_heads = slice_of(exchange.heads, me, size).count, my_tokens = exchange.tokens[static_cast<std::size_t>(me)];
  for (int rank = 0; rank < size; ++rank) {
    counts.own_tokens.push_back(my_tokens * batch * parts * slice_of(exchange.heads, rank, size).count);
    counts.own_heads.push_back(exchange.tokens[static_cast<std::size_t>(rank)] * batch * parts * my_heads);
  }
  return counts;
}

// Tokens first, so that the rows received from all ranks are one tensor of all tokens without a copy.
at::Tensor exchange_to_heads(const HeadExchange& exchange, at::TensorList parts) {
  const auto n = static_cast<std::int64_t>(parts.size());
  const at::Tensor& first = parts[0];
  const int me = exchange.group->rank(), size = exchange.group->size();
  const std::int64_t batch = first.size(0), tokens = first.size(1), width = first.size(3);
  base::check_invariant(tokens == exchange.tokens[static_cast<std::size_t>(me)] && first.size(2) == exchange.heads, "sequence exchange: rank ", me, " holds ",
                        tokens, " tokens and ", first.size(2), " heads; expected ", exchange.tokens[static_cast<std::size_t>(me)], " and ", exchange.heads);
  const at::Tensor send = at::empty({tokens * batch * n * exchange.heads, width}, first.options().requires_grad(false));
  std::int64_t row = 0;
  for (int rank = 0; rank < size; ++rank) {
    const auto heads = slice_of(exchange.heads, rank, size);
    const std::int64_t rows = tokens * batch * n * heads.count;
    const at::Tensor parcel = send.narrow(0, row, rows).view({tokens, batch, n, heads.count, width});
    for (std::int64_t i = 0; i < n; ++i) parcel.select(2, i).copy_(parts[static_cast<std::size_t>(i)].narrow(2, heads.begin, heads.count).transpose(0, 1));
    row += rows;
  }
  const Counts counts = counts_of(exchange, batch, n);
  const at::Tensor received = exchange.group->all_to_all(send, counts.own_tokens, counts.own_heads);
  const std::int64_t all = std::accumulate(exchange.tokens.begin(), exchange.tokens.end(), std::int64_t{0});
  return received.view({all, batch, n, slice_of(exchange.heads, me, size).count, width});
}

variable_list exchange_to_tokens(const HeadExchange& exchange, const at::Tensor& packed) {
  const int me = exchange.group->rank(), size = exchange.group->size();
  const std::int64_t batch = packed.size(1), n = packed.size(2), width = packed.size(4), tokens = exchange.tokens[static_cast<std::size_t>(me)];
  const Counts counts = counts_of(exchange, batch, n);
  const at::Tensor send = packed.contiguous().view({packed.size(0) * batch * n * packed.size(3), width});
  const at::Tensor received = exchange.group->all_to_all(send, counts.own_heads, counts.own_tokens);
  variable_list parts;
  for (std::int64_t i = 0; i < n; ++i) parts.push_back(at::empty({batch, tokens, exchange.heads, width}, packed.options().requires_grad(false)));
  std::int64_t row = 0;
  for (int rank = 0; rank < size; ++rank) {
    const auto heads = slice_of(exchange.heads, rank, size);
    const std::int64_t rows = tokens * batch * n * heads.count;
    const at::Tensor parcel = received.narrow(0, row, rows).view({tokens, batch, n, heads.count, width});
    for (std::int64_t i = 0; i < n; ++i) parts[static_cast<std::size_t>(i)].narrow(2, heads.begin, heads.count).copy_(parcel.select(2, i).transpose(0, 1));
    row += rows;
  }
  return parts;
}

struct ToHeads : torch::autograd::Function<ToHeads> {
  static at::Tensor forward(AutogradContext* ctx, at::TensorList parts, const HeadExchange* exchange) {
    keep(ctx, *exchange);
    return exchange_to_heads(*exchange, parts);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder = ctx->saved_data["exchange"].toCapsule();
    variable_list result = exchange_to_tokens(kept(holder), grads[0]);
    result.emplace_back();
    return result;
  }
};

struct ToTokens : torch::autograd::Function<ToTokens> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& packed, const HeadExchange* exchange) {
    keep(ctx, *exchange);
    return exchange_to_tokens(*exchange, packed);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder = ctx->saved_data["exchange"].toCapsule();
    return {exchange_to_heads(kept(holder), grads), {}};
  }
};

}  // namespace

at::Tensor HeadExchange::to_heads(const std::vector<at::Tensor>& parts) const { return ToHeads::apply(at::TensorList(parts), this); }
std::vector<at::Tensor> HeadExchange::to_tokens(const at::Tensor& packed) const { return ToTokens::apply(packed, this); }

SequenceAttention::SequenceAttention(comm::Communicator& group) : group_(&group) {}

TokenRange SequenceAttention::video_range(std::int64_t total) const { return slice_of(total, group_->rank(), group_->size()); }

TokenRange SequenceAttention::text_range(std::int64_t total) const { return slice_of(total, group_->rank(), group_->size()); }

at::Tensor SequenceAttention::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const TokenCounts& whole, AttentionTape* tape) {
  if (group_->size() == 1) return models::generator::attention(q, k, v, tape);
  HeadExchange exchange{.group = group_, .heads = q.size(2), .tokens = {}};
  for (int rank = 0; rank < group_->size(); ++rank)
    exchange.tokens.push_back(slice_of(whole.video, rank, group_->size()).count + slice_of(whole.text, rank, group_->size()).count);
  // Attention without a mask does not ask for the order of tokens, so video and text of each rank may stay together.
  const auto parts = exchange.to_heads({q, k, v}).transpose(0, 1).unbind(2);
  const at::Tensor out = models::generator::attention(parts[0], parts[1], parts[2], tape);
  return exchange.to_tokens(out.transpose(0, 1).unsqueeze(2))[0];
}

at::Tensor SequenceAttention::gather_video(const at::Tensor& tokens) const {
  if (group_->size() == 1) return tokens;
  return group_->all_gather(tokens.detach().transpose(0, 1).contiguous()).transpose(0, 1);
}

}  // namespace magicid::parallel
