"""What distillation costs at sizes that do not fit here: a simulator, its unit costs, and checks of both."""
