$d0 << END
1.5 0.1 0.3 0.2
2 1e+300 1e+300 1e+300
END
set terminal pngcairo size 900,360
set output '/proc/self/fd/9'
set xdata time
set timefmt '%s'
set format x "%H:%M:%S\n%Y-%m-%d"
set xtics autofreq
set grid
set key off
set rmargin 8
set offsets graph 0.01, graph 0.01, graph 0.05, graph 0.05
set multiplot layout 1,1 title 'demo' noenhanced
set title 'it''s `rm -rf` \ ?"; system(''x'')' noenhanced
plot $d0 using 1:2:3 with filledcurves lc rgb '#c8d8ec' notitle, $d0 using 1:4 with linespoints lc rgb '#1f5fa8' pt 7 ps 0.3 notitle
unset multiplot
set output
