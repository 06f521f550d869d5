//! PyTorch's file format (`torch.save`), written and read without PyTorch.
