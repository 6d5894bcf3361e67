"""The parts behind `r1sgg.data.scenes`: how pictograms are drawn, which relations hold, where things are put."""
