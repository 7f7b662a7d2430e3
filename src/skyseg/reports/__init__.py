"""What people look at: tables, pictures and pages. Nothing is computed from them."""
