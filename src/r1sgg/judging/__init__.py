"""Is a predicted triplet right, and was it predicted before? Rewards, metrics and explanations all ask here."""
