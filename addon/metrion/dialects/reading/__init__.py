"""What the wire formats are read with: usages, shares, charges, errors, results of batches."""
