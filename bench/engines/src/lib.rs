//! Benches of the LibTorch engine against PyTorch: see `benches/`.
