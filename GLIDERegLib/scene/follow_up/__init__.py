"""A patient's dated scans in the scene: their list, their registrations, and what became of each nodule."""
