package page

import (
	"strconv"
	"strings"
	"time"
)

const numLangs = 3

// Words are the texts of one language. {n}, {a} and {b} are numbers. The
// script gets them too, so its names are those of the JSON.
type Words struct {
	Lang string `json:"lang"`

	// By moment, see Fields.Moment; in, ended and blocked are the script's.
	Heading      map[string]string `json:"heading"`
	Lead         map[string]string `json:"lead"`
	LeadWithPass string            `json:"-"` // of an origin that does not answer, for visitors with a pass

	NotSent     string `json:"-"`
	NotSentMore string `json:"-"`
	GoThere     string `json:"goThere"` // link to where a request that is not repeated goes on to
	TryNow      string `json:"-"`       // link: ask for the page once more
	Join        string `json:"join"`
	OpenAlone   string `json:"openAlone"`
	GoOn        string `json:"goOn"`

	Position    string `json:"-"`
	Suffix      string `json:"-"` // what follows a position, as in 3rd
	Among       string `json:"among"`
	Title       string `json:"title"`
	Progress    string `json:"-"`
	Estimate    string `json:"-"`
	Updated     string `json:"-"`
	From        string `json:"-"` // above the operator's message
	NoReload    string `json:"-"`
	KeepSoon    string `json:"-"`
	KeepMinutes string `json:"-"`
	KeepHours   string `json:"-"`

	Lost      string `json:"lost"`      // no connection; a place is kept
	LostPlain string `json:"lostPlain"` // no connection, no place
	Stale     string `json:"stale"`     // connected, but the numbers are old
	Back      string `json:"back"`
	Again     string `json:"again"`
	News      string `json:"news"` // position {n}, wait {e}

	JustNow    string `json:"justNow"`
	SecondsAgo string `json:"secondsAgo"`
	MinutesAgo string `json:"minutesAgo"`

	NoEstimate  string `json:"noEstimate"`
	UnderMinute string `json:"underMinute"`
	OneMinute   string `json:"oneMinute"`
	UpToMinutes string `json:"upToMinutes"`
	Minutes     string `json:"minutes"`
	MinuteRange string `json:"minuteRange"`
	UpTo        string `json:"upTo"` // {b} is a length in hours
	About       string `json:"about"`
	Range       string `json:"range"`
	HalfHour    string `json:"halfHour"`
	Hour        string `json:"hour"`
	Hours       string `json:"hours"`
	HoursHalf   string `json:"hoursHalf"`  // {n} hours and a half
	HoursShort  string `json:"hoursShort"` // the first of a range
	HalfShort   string `json:"halfShort"`

	titleAround, amongAround, secondsAround, minutesAround [2]string
}

// words in the order of their index; the first is for everybody whose
// language we do not speak.
var words = [numLangs]Words{
	{
		Lang: "en",
		Heading: map[string]string{
			"waiting":     "You’re in line",
			"next":        "You’re next",
			"unknown":     "You’re in line",
			"in":          "It’s your turn",
			"full":        "The line is full",
			"closed":      "The line is closed",
			"kept":        "The line is on hold",
			"ended":       "You’re not in line",
			"blocked":     "Your browser blocks cookies",
			"unavailable": "The site isn’t answering",
			"unsure":      "The site isn’t answering",
			"unsent":      "The site isn’t answering",
			"refused":     "We can’t take this request",
			"missing":     "Page not found",
			"large":       "That’s too much to send",
			"long":        "This address is too long",
			"crammed":     "Your browser sends too much along",
		},
		Lead: map[string]string{
			"waiting":     "Keep this page open. When it’s your turn, you’ll be let in automatically.",
			"next":        "Stay right here. You’ll be let in as soon as there’s room.",
			"unknown":     "You have a place. We’re working out your position.",
			"in":          "Letting you in…",
			"full":        "No more places are being given out right now, so you don’t have one yet. Keep this page open: it joins the line for you as soon as it can.",
			"closed":      "Nobody can join the line at the moment. Keep this page open: it goes on by itself when the line opens.",
			"kept":        "Nobody is being let in at the moment. Your place is kept, and this page goes on by itself when the line moves again.",
			"ended":       "We have no place for you. It may have expired, or you may have left the line in another tab.",
			"blocked":     "Without a cookie we can’t keep a place for you. Allow cookies for this site, or open this page in its own window or in your usual browser.",
			"unavailable": "We’ll try again automatically. There’s nothing you need to do.",
			"unsure":      "We can’t tell whether what you sent has arrived. Please check before you send it again.",
			"unsent":      "Nothing was sent or ordered. Please go back and try again in a moment.",
			"refused":     "Something about it isn’t right. Please check the address and try again.",
			"missing":     "There’s nothing at this address.",
			"large":       "What you sent is larger than this site takes, so it was not passed on. Please send less, such as a smaller file.",
			"long":        "It may have been put together wrongly. Please go back to the site’s start page and try from there.",
			"crammed":     "Most likely this site has left too many cookies in your browser. Please delete the cookies of this site and try again.",
		},
		LeadWithPass: "You still have access. We’ll try again automatically, and there’s nothing you need to do.",

		NotSent:     "Nothing was sent or ordered.",
		NotSentMore: "You need to wait in line first, so what you entered was not passed on. When it’s your turn, you’ll go back to the site and can send it then.",
		GoThere:     "Back to the site",
		TryNow:      "Try now",
		Join:        "Join the line",
		OpenAlone:   "Open in its own window",
		GoOn:        "Continue",

		Position:    "Your position",
		Among:       "{n} waiting in total",
		Title:       "{n} – You’re in line",
		Progress:    "Progress since you joined",
		Estimate:    "Estimated wait",
		Updated:     "Last updated",
		From:        "Message from the organizer",
		NoReload:    "No need to reload. If you do, you keep your place.",
		KeepSoon:    "If you close this page, come back soon with the same browser. You keep your place, but can only be let in while the page is open.",
		KeepMinutes: "If you close this page, come back within {n} minutes with the same browser. You keep your place, but can only be let in while the page is open.",
		KeepHours:   "If you close this page, come back within {n} hours with the same browser. You keep your place, but can only be let in while the page is open.",

		Lost:      "No connection at the moment. Your place is kept, and we’ll keep trying automatically. Please check your Wi-Fi or mobile data.",
		LostPlain: "No connection at the moment. We’ll keep trying automatically. Please check your Wi-Fi or mobile data.",
		Stale:     "We can’t get new numbers at the moment. Your place is kept.",
		Back:      "You’re connected again.",
		Again:     "Your earlier place had expired, so you have been given a new one.",
		News:      "Your position is {n}. Estimated wait: {e}.",

		JustNow:    "just now",
		SecondsAgo: "{n} s ago",
		MinutesAgo: "{n} min ago",

		NoEstimate:  "being worked out",
		UnderMinute: "less than a minute",
		OneMinute:   "about a minute",
		UpToMinutes: "up to {b} minutes",
		Minutes:     "about {a} minutes",
		MinuteRange: "{a} to {b} minutes",
		UpTo:        "up to {b}",
		About:       "about {b}",
		Range:       "{a} to {b}",
		HalfHour:    "30 minutes",
		Hour:        "1 hour",
		Hours:       "{n} hours",
		HoursHalf:   "{n}½ hours",
		HoursShort:  "{n}",
		HalfShort:   "{n}½",
	},
	{
		Lang: "ko",
		Heading: map[string]string{
			"waiting":     "순서를 기다리고 있습니다",
			"next":        "바로 다음 순서입니다",
			"unknown":     "순서를 기다리고 있습니다",
			"in":          "입장하실 순서입니다",
			"full":        "대기 인원이 가득 찼습니다",
			"closed":      "지금은 대기를 받지 않습니다",
			"kept":        "입장이 잠시 중단되었습니다",
			"ended":       "대기 중이 아닙니다",
			"blocked":     "쿠키가 차단되어 있습니다",
			"unavailable": "사이트가 응답하지 않습니다",
			"unsure":      "사이트가 응답하지 않습니다",
			"unsent":      "사이트가 응답하지 않습니다",
			"refused":     "요청을 처리할 수 없습니다",
			"missing":     "페이지를 찾을 수 없습니다",
			"large":       "보내신 내용이 너무 큽니다",
			"long":        "주소가 너무 깁니다",
			"crammed":     "브라우저가 함께 보내는 정보가 너무 많습니다",
		},
		Lead: map[string]string{
			"waiting":     "이 페이지를 열어 두세요. 순서가 되면 자동으로 입장합니다.",
			"next":        "이 페이지에서 잠시만 기다려 주세요. 자리가 나는 대로 입장합니다.",
			"unknown":     "대기 등록이 완료되었습니다. 현재 순서를 확인하고 있습니다.",
			"in":          "입장하는 중입니다…",
			"full":        "지금은 대기 등록을 더 받을 수 없어 아직 순서를 받지 못하셨습니다. 이 페이지를 열어 두시면 가능해지는 대로 자동으로 등록해 드립니다.",
			"closed":      "현재 대기 등록을 받지 않고 있습니다. 이 페이지를 열어 두시면 다시 시작될 때 자동으로 진행됩니다.",
			"kept":        "현재 입장이 중단되어 있습니다. 대기 순서는 그대로 유지되며, 재개되면 자동으로 진행됩니다.",
			"ended":       "등록된 대기 순서가 없습니다. 유효 시간이 지났거나 다른 탭에서 대기를 취소하셨을 수 있습니다.",
			"blocked":     "쿠키가 없으면 대기 순서를 유지할 수 없습니다. 이 사이트의 쿠키를 허용하시거나, 전체 창 또는 평소 사용하시는 브라우저에서 이 페이지를 열어 주세요.",
			"unavailable": "잠시 후 자동으로 다시 시도합니다. 이대로 기다려 주세요.",
			"unsure":      "보내신 내용이 전달되었는지 확인할 수 없습니다. 다시 보내시기 전에 처리 여부를 먼저 확인해 주세요.",
			"unsent":      "아직 아무것도 전송되거나 주문되지 않았습니다. 돌아가셔서 잠시 후 다시 시도해 주세요.",
			"refused":     "요청이 올바르지 않습니다. 주소를 확인하신 후 다시 시도해 주세요.",
			"missing":     "이 주소에는 페이지가 없습니다.",
			"large":       "이 사이트에서 받을 수 있는 크기를 넘어 전달되지 않았습니다. 더 작은 파일처럼 크기를 줄여서 다시 보내 주세요.",
			"long":        "주소가 잘못 만들어졌을 수 있습니다. 사이트의 첫 페이지로 돌아가 다시 시도해 주세요.",
			"crammed":     "이 사이트의 쿠키가 브라우저에 너무 많이 쌓였을 수 있습니다. 이 사이트의 쿠키를 삭제한 뒤 다시 시도해 주세요.",
		},
		LeadWithPass: "입장 상태는 그대로 유지됩니다. 잠시 후 자동으로 다시 시도하니 이대로 기다려 주세요.",

		NotSent:     "아직 아무것도 전송되거나 주문되지 않았습니다.",
		NotSentMore: "대기가 먼저 시작되어 입력하신 내용은 전달되지 않았습니다. 순서가 되면 사이트로 돌아가니, 그때 다시 보내 주세요.",
		GoThere:     "사이트로 돌아가기",
		TryNow:      "지금 다시 시도",
		Join:        "대기 등록하기",
		OpenAlone:   "전체 창에서 열기",
		GoOn:        "계속하기",

		Position:    "나의 대기 순서",
		Suffix:      "번째",
		Among:       "전체 대기 인원 {n}명",
		Title:       "{n}번째 – 대기 중",
		Progress:    "대기 시작 이후 진행 상황",
		Estimate:    "예상 대기 시간",
		Updated:     "마지막 업데이트",
		From:        "안내 말씀",
		NoReload:    "새로고침하지 않으셔도 됩니다. 새로고침하셔도 순서는 유지됩니다.",
		KeepSoon:    "페이지를 닫으셨다면 너무 늦지 않게 같은 브라우저로 다시 열어 주세요. 순서는 유지되지만, 페이지가 열려 있어야 입장할 수 있습니다.",
		KeepMinutes: "페이지를 닫으셨다면 {n}분 안에 같은 브라우저로 다시 열어 주세요. 순서는 유지되지만, 페이지가 열려 있어야 입장할 수 있습니다.",
		KeepHours:   "페이지를 닫으셨다면 {n}시간 안에 같은 브라우저로 다시 열어 주세요. 순서는 유지되지만, 페이지가 열려 있어야 입장할 수 있습니다.",

		Lost:      "연결이 끊어졌습니다. 대기 순서는 유지되며, 자동으로 다시 연결합니다. Wi-Fi나 모바일 데이터 상태를 확인해 주세요.",
		LostPlain: "연결이 끊어졌습니다. 자동으로 다시 연결합니다. Wi-Fi나 모바일 데이터 상태를 확인해 주세요.",
		Stale:     "지금은 새로운 순서 정보를 가져올 수 없습니다. 대기 순서는 유지됩니다.",
		Back:      "다시 연결되었습니다.",
		Again:     "이전 대기 순서의 유효 시간이 지나 새 순서를 받으셨습니다.",
		News:      "현재 순서는 {n}번째입니다. 예상 대기 시간: {e}.",

		JustNow:    "방금 전",
		SecondsAgo: "{n}초 전",
		MinutesAgo: "{n}분 전",

		NoEstimate:  "계산 중",
		UnderMinute: "1분 이내",
		OneMinute:   "약 1분",
		UpToMinutes: "최대 {b}분",
		Minutes:     "약 {a}분",
		MinuteRange: "{a}~{b}분",
		UpTo:        "최대 {b}",
		About:       "약 {b}",
		Range:       "{a}~{b}",
		HalfHour:    "30분",
		Hour:        "1시간",
		Hours:       "{n}시간",
		HoursHalf:   "{n}시간 30분",
		HoursShort:  "{n}시간",
		HalfShort:   "{n}시간 30분",
	},
	{
		Lang: "ja",
		Heading: map[string]string{
			"waiting":     "順番にご案内しています",
			"next":        "次にご案内します",
			"unknown":     "順番にご案内しています",
			"in":          "お待たせいたしました",
			"full":        "ただいま満員です",
			"closed":      "ただいま受付を停止しています",
			"kept":        "ご案内を一時停止しています",
			"ended":       "順番待ちに登録されていません",
			"blocked":     "Cookieがブロックされています",
			"unavailable": "サイトが応答していません",
			"unsure":      "サイトが応答していません",
			"unsent":      "サイトが応答していません",
			"refused":     "リクエストを処理できません",
			"missing":     "ページが見つかりません",
			"large":       "送信された内容が大きすぎます",
			"long":        "アドレスが長すぎます",
			"crammed":     "ブラウザーが送る情報が多すぎます",
		},
		Lead: map[string]string{
			"waiting":     "このページを開いたままお待ちください。順番になりましたら、自動的に移動します。",
			"next":        "このままお待ちください。空きができ次第、ご案内します。",
			"unknown":     "受付が完了しました。現在の順番を確認しています。",
			"in":          "サイトへご案内しています…",
			"full":        "現在、新たな受付ができないため、順番はまだ確保されていません。このページを開いたままにしていただければ、受付が可能になり次第、自動的に登録します。",
			"closed":      "現在、順番待ちの受付を停止しています。このページを開いたままにしていただければ、再開後に自動的に進みます。",
			"kept":        "お客様の順番はそのまま確保されています。ご案内を再開しましたら、このページから自動的に進みます。",
			"ended":       "お客様の順番が見つかりません。有効期限が切れたか、別のタブで順番待ちを取り消された可能性があります。",
			"blocked":     "Cookieがないと順番を確保できません。このサイトのCookieを許可するか、別のウィンドウまたは普段お使いのブラウザーでこのページを開いてください。",
			"unavailable": "自動的に再接続しますので、このままお待ちください。",
			"unsure":      "送信された内容が届いたかどうかを確認できません。再度送信される前に、処理状況をご確認ください。",
			"unsent":      "まだ何も送信・注文されていません。お戻りになり、しばらくしてからもう一度お試しください。",
			"refused":     "リクエストが正しくありません。アドレスをご確認のうえ、もう一度お試しください。",
			"missing":     "このアドレスにはページがありません。",
			"large":       "このサイトで受け取れる大きさを超えているため、送信されませんでした。小さいファイルにするなど、内容を減らしてお試しください。",
			"long":        "アドレスが正しく作られていない可能性があります。サイトのトップページに戻って、もう一度お試しください。",
			"crammed":     "このサイトの Cookie がブラウザーにたまりすぎている可能性があります。このサイトの Cookie を削除して、もう一度お試しください。",
		},
		LeadWithPass: "ご入場の状態はそのまま保たれています。自動的に再接続しますので、このままお待ちください。",

		NotSent:     "まだ何も送信・注文されていません。",
		NotSentMore: "順番待ちのため、入力された内容は送信されていません。順番になりましたらサイトへ戻りますので、あらためて送信してください。",
		GoThere:     "サイトへ戻る",
		TryNow:      "今すぐ再試行",
		Join:        "順番待ちに登録する",
		OpenAlone:   "別のウィンドウで開く",
		GoOn:        "続ける",

		Position:    "お客様の順番",
		Suffix:      "番目",
		Among:       "全体の待ち人数 {n}人",
		Title:       "{n}番目 – 順番待ち",
		Progress:    "順番待ち開始からの進み具合",
		Estimate:    "待ち時間の目安",
		Updated:     "最終更新",
		From:        "お知らせ",
		NoReload:    "再読み込みは必要ありません。再読み込みしても順番は変わりません。",
		KeepSoon:    "ページを閉じた場合は、お早めに同じブラウザーで開き直してください。順番は確保されていますが、ご案内できるのはページを開いている間だけです。",
		KeepMinutes: "ページを閉じた場合は、{n}分以内に同じブラウザーで開き直してください。順番は確保されていますが、ご案内できるのはページを開いている間だけです。",
		KeepHours:   "ページを閉じた場合は、{n}時間以内に同じブラウザーで開き直してください。順番は確保されていますが、ご案内できるのはページを開いている間だけです。",

		Lost:      "接続が切れています。順番は確保されており、自動的に再接続します。Wi-Fiやモバイル通信の状態をご確認ください。",
		LostPlain: "接続が切れています。自動的に再接続します。Wi-Fiやモバイル通信の状態をご確認ください。",
		Stale:     "現在、最新の情報を取得できません。お客様の順番は確保されています。",
		Back:      "再接続しました。",
		Again:     "以前の順番は有効期限が切れたため、新しい順番で登録しました。",
		News:      "現在の順番は{n}番目です。待ち時間の目安：{e}。",

		JustNow:    "たった今",
		SecondsAgo: "{n}秒前",
		MinutesAgo: "{n}分前",

		NoEstimate:  "計算中",
		UnderMinute: "1分未満",
		OneMinute:   "約1分",
		UpToMinutes: "最大{b}分",
		Minutes:     "約{a}分",
		MinuteRange: "{a}～{b}分",
		UpTo:        "最大{b}",
		About:       "約{b}",
		Range:       "{a}～{b}",
		HalfHour:    "30分",
		Hour:        "1時間",
		Hours:       "{n}時間",
		HoursHalf:   "{n}時間30分",
		HoursShort:  "{n}時間",
		HalfShort:   "{n}時間30分",
	},
}

func init() {
	for i := range words {
		w := &words[i]
		w.titleAround = around(w.Title)
		w.amongAround = around(w.Among)
		w.secondsAround = around(w.SecondsAgo)
		w.minutesAround = around(w.MinutesAgo)
	}
}

func around(s string) [2]string {
	a, b, ok := strings.Cut(s, "{n}")
	if !ok {
		panic("BUG: no {n} in " + s)
	}
	return [2]string{a, b}
}

// appendAgo appends how long ago something was. page.js has the same.
func (w *Words) appendAgo(dst []byte, seconds int64) []byte {
	a := &w.secondsAround
	switch {
	case seconds < 3:
		return append(dst, w.JustNow...)
	case seconds >= 60:
		a = &w.minutesAround
		seconds /= 60
	}
	dst = append(dst, a[0]...)
	dst = appendNumber(dst, seconds)
	return append(dst, a[1]...)
}

// appendEstimate appends a wait between low and high seconds in words. It
// rounds outwards, to steps that grow with the wait: a range stays true, and
// nobody reads precision into it that is not there. page.js has the same.
func (w *Words) appendEstimate(dst []byte, low, high int64) []byte {
	low = min(max(low, 0), high)
	switch {
	case high <= 0:
		return append(dst, w.NoEstimate...)
	case high < 60:
		return append(dst, w.UnderMinute...)
	case high <= 90*60:
		step := int64(1)
		if high > 40*60 {
			step = 10
		} else if high > 20*60 {
			step = 5
		}
		a, b := low/60/step*step, (high+60*step-1)/(60*step)*step
		switch {
		case b == 1:
			return append(dst, w.OneMinute...)
		case a == 0:
			return appendText(dst, w.UpToMinutes, 0, b)
		case a == b:
			return appendText(dst, w.Minutes, a, b)
		}
		return appendText(dst, w.MinuteRange, a, b)
	}
	// In half hours; from six hours on in hours.
	step := int64(1)
	if high > 6*3600 {
		step = 2
	}
	a, b := low/1800/step*step, (high+1800*step-1)/(1800*step)*step
	form := w.Range
	switch a {
	case 0:
		form = w.UpTo
	case b:
		form = w.About
	}
	for i := 0; i < len(form); i++ {
		switch {
		case strings.HasPrefix(form[i:], "{a}"):
			dst = w.appendHours(dst, a, w.HoursShort, w.HalfShort)
			i += 2
		case strings.HasPrefix(form[i:], "{b}"):
			dst = w.appendHours(dst, b, w.Hours, w.HoursHalf)
			i += 2
		default:
			dst = append(dst, form[i])
		}
	}
	return dst
}

func (w *Words) appendHours(dst []byte, halves int64, whole, half string) []byte {
	switch {
	case halves == 1:
		return append(dst, w.HalfHour...)
	case halves%2 == 1:
		return appendText(dst, half, halves/2, 0)
	}
	return appendText(dst, whole, halves/2, 0)
}

// appendText appends form with numbers for {a} and {b}, or for {n}.
func appendText(dst []byte, form string, a, b int64) []byte {
	for i := 0; i < len(form); i++ {
		switch {
		case strings.HasPrefix(form[i:], "{a}"), strings.HasPrefix(form[i:], "{n}"):
			dst = appendNumber(dst, a)
			i += 2
		case strings.HasPrefix(form[i:], "{b}"):
			dst = appendNumber(dst, b)
			i += 2
		default:
			dst = append(dst, form[i])
		}
	}
	return dst
}

// keepNote says how to come back after closing the page.
func (w *Words) keepNote(keep time.Duration) string {
	minutes := int64(keep / time.Minute)
	form := w.KeepMinutes
	switch {
	case minutes < 2:
		return w.KeepSoon
	case minutes >= 120:
		form, minutes = w.KeepHours, minutes/60
	}
	return strings.Replace(form, "{n}", strconv.FormatInt(minutes, 10), 1)
}
