package report

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"slices"

	gochart "github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

// chart is a picture with what it says in words.
type chart struct {
	ID    string
	Title string
	Unit  string // of the upright axis
	Text  string // its main figures
	Note  string // how to read it
	Keys  []key
	// The same twice: letters keep their size on a phone, so there is less room
	// beside them. The page shows one.
	Wide, Narrow template.HTML
}

// key is a line of the legend.
type key struct{ Class, Name string }

// plot is what a chart shows, in seconds and in some unit.
type plot struct {
	end   int // of the run
	ticks func(top float64, most int) []float64
	label func(v float64) string
	lines []line
}

// line is one of a chart's. Its colour and dashes are those of its class.
type line struct {
	class string
	area  bool // the ground below it is filled
	parts []part
}

// part is a stretch without a gap.
type part struct{ x, y []float64 }

// ground is the outline of what lies below the line.
func (p part) ground() part {
	last := len(p.x) - 1
	return part{
		slices.Concat(p.x[:1], p.x, p.x[last:]),
		slices.Concat([]float64{0}, p.y, []float64{0}),
	}
}

// steps is a line of values that each hold for so many seconds. NaN are gaps.
func steps(class string, area bool, vs []float64, step, end int) line {
	l := line{class: class, area: area}
	var p part
	finish := func() {
		if len(p.x) > 0 {
			l.parts = append(l.parts, p)
		}
		p = part{}
	}
	for i, v := range vs {
		if math.IsNaN(v) {
			finish()
			continue
		}
		from, to := float64(i*step), float64(min((i+1)*step, end))
		if n := len(p.y); n > 0 && p.y[n-1] == v {
			p.x[n-1] = to // as before: no new point
			continue
		}
		p.x, p.y = append(p.x, from, to), append(p.y, v, v)
	}
	finish()
	return l
}

// level is a line at one height.
func level(class string, v float64, end int) line {
	return line{class: class, parts: []part{{[]float64{0, float64(end)}, []float64{v, v}}}}
}

// states is a line through what held at the ends of stretches, from nothing on.
func states(class string, vs []float64, step, end int) line {
	p := part{[]float64{0}, []float64{0}}
	for i, v := range vs {
		p.x, p.y = append(p.x, float64(min((i+1)*step, end))), append(p.y, v)
	}
	return line{class: class, area: true, parts: []part{p}}
}

const (
	// letters is their size in the unit of the pictures. It is a little more than in
	// report.css, since the font that is measured here may not be the reader's.
	letters = 13

	wideWidth, wideHeight     = 760, 240
	narrowWidth, narrowHeight = 300, 210
)

// draw returns both pictures.
func (p *plot) draw(labelledBy string) (wide, narrow template.HTML, err error) {
	if wide, err = p.svg("wide", labelledBy, wideWidth, wideHeight, 9, 5); err != nil {
		return "", "", err
	}
	narrow, err = p.svg("narrow", labelledBy, narrowWidth, narrowHeight, 4, 4)
	return wide, narrow, err
}

func (p *plot) svg(class, labelledBy string, width, height, mostX, mostY int) (template.HTML, error) {
	top := 0.0
	for _, l := range p.lines {
		for _, part := range l.parts {
			for _, v := range part.y {
				top = max(top, v)
			}
		}
	}
	end := float64(p.end)
	// What is drawn has a class; a colour only says that it is drawn at all.
	style := func(class string) gochart.Style {
		return gochart.Style{ClassName: class, StrokeColor: drawing.ColorBlack, StrokeWidth: 1, FontSize: letters}
	}
	blank := gochart.Style{ClassName: "blank", Padding: gochart.Box{Top: 8, Left: 4, Right: 10, Bottom: 4}}
	c := gochart.Chart{Width: width, Height: height, DPI: 72, Background: blank, Canvas: blank}

	c.XAxis.Style = style("axis")
	c.XAxis.GridMajorStyle.Hidden, c.XAxis.GridMinorStyle.Hidden = true, true
	marks := instants(p.end, mostX)
	for _, at := range marks {
		c.XAxis.Ticks = append(c.XAxis.Ticks, gochart.Tick{Value: float64(at), Label: brief(at, marks, p.end)})
	}
	if last := c.XAxis.Ticks[len(c.XAxis.Ticks)-1]; last.Value < end {
		c.XAxis.Ticks = append(c.XAxis.Ticks, gochart.Tick{Value: end}) // the axis ends with the run
	}

	// The axis on the left is the second one here, and reads its range from the ticks
	// of the first.
	c.YAxis.Style.Hidden = true
	c.YAxisSecondary.Style = style("axis")
	c.YAxisSecondary.Zero.Style.Hidden = true
	c.YAxisSecondary.GridMajorStyle.Hidden, c.YAxisSecondary.GridMinorStyle.Hidden = true, true
	for _, v := range p.ticks(top, mostY) {
		c.YAxis.Ticks = append(c.YAxis.Ticks, gochart.Tick{Value: v, Label: p.label(v)})
	}
	c.YAxisSecondary.Ticks = c.YAxis.Ticks

	add := func(class string, part part) {
		c.Series = append(c.Series, gochart.ContinuousSeries{
			Style: style(class), YAxis: gochart.YAxisSecondary, XValues: part.x, YValues: part.y,
		})
	}
	for _, t := range c.YAxis.Ticks[1:] {
		add("grid", part{[]float64{0, end}, []float64{t.Value, t.Value}})
	}
	for _, l := range p.lines {
		for _, part := range l.parts {
			if l.area {
				add(l.class+"-area", part.ground())
			}
			add(l.class, part)
		}
	}
	var b bytes.Buffer
	if err := c.Render(gochart.SVG, &b); err != nil {
		return "", fmt.Errorf("chart %s: %w", labelledBy, err)
	}
	_, inner, ok := bytes.Cut(b.Bytes(), []byte(">")) // its own opening tag has no name and no size
	if !ok {
		return "", fmt.Errorf("chart %s: no picture came", labelledBy)
	}
	inner = bytes.ReplaceAll(inner, []byte("\n"), nil) // between the points of paths
	// Nothing in the picture is from outside: its texts are numbers with units.
	return template.HTML(fmt.Sprintf(`<svg class="plot %s" viewBox="0 0 %d %d" role="img" aria-labelledby="%s-title %s-text">%s`,
		class, width, height, labelledBy, labelledBy, inner)), nil //nolint:gosec // see above
}

// instants are where the axis of time has its marks.
func instants(end, most int) []int {
	step := 0
	for _, step = range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600} {
		if end/step <= most {
			break
		}
	}
	var out []int
	for at := 0; at <= end; at += step {
		out = append(out, at)
	}
	return out
}

// instant tells a time since the start of a run that took so long, in seconds.
func instant(at, end int) string {
	switch {
	case end <= 120:
		return fmt.Sprintf("%d"+thin+"s", at)
	case end <= 2*3600:
		return fmt.Sprintf("%d:%02d"+thin+"min", at/60, at%60)
	default:
		return fmt.Sprintf("%d:%02d"+thin+"h", at/3600, at/60%60)
	}
}

// brief is instant for a mark: in whole minutes or hours where all of them are.
func brief(at int, marks []int, end int) string {
	step := end
	if len(marks) > 1 {
		step = marks[1]
	}
	switch {
	case at == 0:
		return "0"
	case end > 2*3600 && step%3600 == 0:
		return fmt.Sprintf("%d"+thin+"h", at/3600)
	case end > 120 && end <= 2*3600 && step%60 == 0:
		return fmt.Sprintf("%d"+thin+"min", at/60)
	}
	return instant(at, end)
}

// round returns marks from 0 to above the top at 1, 2 or 5 times a power of ten, none
// closer than least.
func round(top, least float64, most int) []float64 {
	step := least
	for power := least; ; power *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if step = n * power; !(top > step*float64(most)) { // ends whatever the top is
				return upTo(top, step)
			}
		}
	}
}

func upTo(top, step float64) []float64 {
	n := max(1, int(math.Ceil(top/step-1e-9)))
	out := make([]float64, n+1)
	for i := range out {
		out[i] = float64(i) * step
	}
	return out
}

// wholes are marks for people and requests.
func wholes(top float64, most int) []float64 { return round(top, 1, most) }

// times are marks for milliseconds.
func times(top float64, most int) []float64 {
	for _, step := range []float64{15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000} {
		if top > 10_000*float64(most) && top <= step*float64(most) {
			return upTo(top, step)
		}
	}
	return round(top, .01, most)
}
