"""What people look at: tables, pictures and pages. No results are computed from them."""
