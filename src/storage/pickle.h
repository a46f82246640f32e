// A reader of pickles that builds data and nothing else.
//
// A pickle is a program for a small stack machine that may call any Python function. This reader knows the opcodes that build numbers, texts, lists, tuples and
// dictionaries, and hands the few global names to its caller, who knows what they stand for; it refuses every other opcode and name. Nothing is ever run.
// Source: CPython's Lib/pickletools.py (the opcodes' meaning), protocols 2 to 5.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace magicid::storage {

struct PickleValue;
using PicklePointer = PickleValue*;  // owned by the Pickle: values may hold each other in circles

struct PickleNone {};
struct PickleBytes {
  std::string bytes;
};
struct PickleSequence {  // a list or a tuple
  bool tuple = false;
  std::vector<PicklePointer> items;
};
struct PickleDictionary {
  std::vector<std::pair<PicklePointer, PicklePointer>> items;
};
struct PickleGlobal {
  std::string name;  // "collections.OrderedDict"
};
// What the caller made of a call or of a persistent id.
struct PickleObject {
  std::shared_ptr<const void> object;
  int kind = 0;  // the caller's own numbering
};

struct PickleValue {
  std::variant<PickleNone, bool, std::int64_t, double, std::string, PickleBytes, PickleSequence, PickleDictionary, PickleGlobal, PickleObject> value;
};

// What the names in a pickle stand for. Each function may throw UserError through `refuse`.
struct PickleMeanings {
  // Whether a global of this name ("module.name") may stand in the pickle.
  std::function<bool(const std::string& name)> known;
  // What calling the global gives; `refuse` throws UserError with the file and the position.
  std::function<PickleValue(const std::string& name, const PickleSequence& arguments, const std::function<void(const std::string&)>& refuse)> call;
  // What a persistent id is.
  std::function<PickleValue(const PickleValue& id, const std::function<void(const std::string&)>& refuse)> persistent;
};

struct Pickle {
  std::deque<PickleValue> values;
  PicklePointer root = nullptr;
};

// Reads one pickle to its STOP. `origin` is what messages call it. Throws UserError with the position for anything but known opcodes and names, for a pickle
// that ends too early, and for one that wants too much (100 MB of pickle, 5 million values). The values may be nested to any depth and hold themselves: who
// walks through them counts.
Pickle read_pickle(std::string_view bytes, const std::string& origin, const PickleMeanings& meanings);

}  // namespace magicid::storage
