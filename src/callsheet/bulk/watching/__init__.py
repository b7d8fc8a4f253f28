"""Show a bulk run while it lasts, and record what its report needs."""
