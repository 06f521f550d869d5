//! Add-ons that need no vendor.
