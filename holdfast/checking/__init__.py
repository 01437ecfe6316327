"""What `holdfast check` says: text for people, JSON and JUnit for programs, a picture of the order of the start."""
