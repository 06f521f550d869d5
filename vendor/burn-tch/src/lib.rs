//! Nothing: Burn is built without its LibTorch backend.
